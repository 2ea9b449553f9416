// SPDX-License-Identifier: Apache-2.0
#include "worker/client/h2_head.h"

#include "common/http/grammar.h"
#include "worker/net/h2_fields.h"

#include <sys/random.h>

#include <algorithm>
#include <cstring>

namespace ladle::worker {

namespace {

/// 16 random bytes in base64 (RFC 6455 §4.1).
std::string make_websocket_key()
{
    static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char bytes[18] = {};
    while (::getrandom(bytes, 16, 0) != 16) {
    }
    std::string key;
    for (unsigned at = 0; at < 18; at += 3) {
        const unsigned three = static_cast<unsigned>(bytes[at] << 16 | bytes[at + 1] << 8 | bytes[at + 2]);
        for (const unsigned shift : {18u, 12u, 6u, 0u}) {
            key += kDigits[three >> shift & 63u];
        }
    }
    key.replace(22, 2, "==");
    return key;
}

} // namespace

void H2Head::keep(Piece& piece, std::string_view value)
{
    piece = {static_cast<std::uint32_t>(texts_.size()), static_cast<std::uint32_t>(value.size())};
    texts_ += value;
}

bool H2Head::add_pseudo(std::string_view name, std::string_view value)
{
    if (value.find(' ') != std::string_view::npos) {
        return false;
    }
    if (name == ":method") {
        keep(method_, value);
    } else if (name == ":scheme") {
        keep(scheme_, value);
    } else if (name == ":authority") {
        keep(authority_, value);
    } else if (name == ":path") {
        keep(path_, value);
    } else if (name == ":protocol") {
        keep(protocol_, value);
    } else {
        return false;
    }
    return true;
}

bool H2Head::add(std::string_view name, std::string_view value)
{
    bytes_ += name.size() + value.size() + 4;
    if (bytes_ > most_) {
        fault_ = Fault::too_large;
        return false;
    }
    const bool is_pseudo = name.starts_with(':');
    if (breaks_line(value) || (!is_pseudo && !is_h2_field_name(name))) {
        fault_ = Fault::malformed; // a line of its own, for whoever reads HTTP/1
    } else if (is_pseudo) {
        fault_ = add_pseudo(name, value) ? fault_ : Fault::malformed;
    } else if (name == "cookie") {
        cookie_.append(cookie_.empty() ? "" : "; ").append(value);
    } else if (name == "host") {
        fault_ = host_.length != 0 ? Fault::two_hosts : fault_;
        keep(host_, value);
    } else if (is_connection_field(name)) {
        fault_ = Fault::malformed;
    } else if (is_extended_connect() && (name == "sec-websocket-key" || name == "content-length")) {
        return true; // RFC 8441 §5: the first is not used, the second means nothing
    } else {
        has_length_ = has_length_ || name == "content-length";
        lines_.append(name).append(": ").append(value).append("\r\n");
    }
    return true;
}

H2Head::Fault H2Head::fault() const noexcept
{
    if (fault_ != Fault::none) {
        return fault_;
    }
    if (authority_.length != 0 && host_.length != 0 && !http::equals_ignoring_case(view(authority_), view(host_))) {
        return Fault::two_hosts;
    }
    const bool is_connect = view(method_) == "CONNECT";
    const bool has_path = view(path_).starts_with('/') || (view(path_) == "*" && view(method_) == "OPTIONS");
    if (method_.length == 0 || has_path == (is_connect && !is_extended_connect()) || (!has_path && path_.length != 0)) {
        return Fault::malformed;
    }
    if (is_extended_connect() && !(is_connect && http::equals_ignoring_case(view(protocol_), "websocket"))) {
        return Fault::bad_protocol;
    }
    const bool is_http = http::equals_ignoring_case(view(scheme_), "http") || http::equals_ignoring_case(view(scheme_), "https");
    return is_http || (is_connect && !is_extended_connect()) ? Fault::none : Fault::malformed;
}

std::string H2Head::first_lines(Rest rest, Channel channel) const
{
    const std::string_view authority = authority_.length != 0 ? view(authority_) : view(host_);
    std::string text;
    text.reserve(path_.length + 2 * authority.size() + 128);
    text.append(is_extended_connect() ? std::string_view("GET") : view(method_)).append(" ");
    if (path_.length == 0) {
        text.append(authority); // of CONNECT
    } else {
        // As an absolute target, so that an https resource is treated as it is in HTTP/1.
        const bool says_https = http::equals_ignoring_case(view(scheme_), "https") && channel == Channel::plain;
        if (says_https && view(path_).starts_with('/')) {
            text.append("https://").append(authority);
        }
        text.append(view(path_));
    }
    text.append(" HTTP/1.1\r\nHost: ").append(authority).append("\r\n");
    if (is_extended_connect()) {
        text.append("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ").append(make_websocket_key()).append("\r\n");
    } else if (rest == Rest::body && !has_length_) {
        text.append("Transfer-Encoding: chunked\r\n"); // a body without a length: its frames delimit it
    }
    return text;
}

BlockRef H2Head::write(Rest rest, Channel channel) const
{
    const std::string first = first_lines(rest, channel);
    BlockRef block = BlockRef::make_exactly(first.size() + lines_.size() + cookie_.size() + 16);
    char* at = block->data;
    const auto put = [&at](std::string_view text) {
        std::memcpy(at, text.data(), text.size());
        at += text.size();
    };
    put(first);
    put(lines_);
    if (!cookie_.empty()) {
        put("Cookie: ");
        put(cookie_);
        put("\r\n");
    }
    put("\r\n");
    block->used = static_cast<std::uint32_t>(at - block->data);
    return block;
}

void H2Head::forget() noexcept
{
    for (std::string* text : {&texts_, &lines_, &cookie_}) {
        std::string().swap(*text);
    }
}

} // namespace ladle::worker
