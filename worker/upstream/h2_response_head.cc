// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/h2_response_head.h"

#include "common/http/status.h"
#include "worker/net/h2_fields.h"

#include <cstring>

namespace ladle::worker {

namespace {

/// Three digits from 100 on; 0 for anything else.
std::uint16_t parse_status(std::string_view text) noexcept
{
    if (text.size() != 3) {
        return 0;
    }
    unsigned status = 0;
    for (const char digit : text) {
        if (digit < '0' || digit > '9') {
            return 0;
        }
        status = status * 10 + static_cast<unsigned>(digit - '0');
    }
    return status < 100 ? std::uint16_t{0} : static_cast<std::uint16_t>(status);
}

} // namespace

bool H2ResponseHead::add(std::string_view name, std::string_view value)
{
    bytes_ += name.size() + value.size() + 4;
    if (bytes_ > most_) {
        fault_ = Fault::too_large;
        return false;
    }
    if (name.starts_with(':')) {
        const bool is_good = name == ":status" && status_ == 0 && lines_.empty();
        status_ = is_good ? parse_status(value) : std::uint16_t{0};
        fault_ = status_ == 0 ? Fault::malformed : fault_;
    } else if (breaks_line(value) || !is_h2_field_name(name) || is_connection_field(name)) {
        fault_ = Fault::malformed;
    } else {
        has_length_ = has_length_ || name == "content-length";
        lines_.append(name).append(": ").append(value).append("\r\n");
    }
    return true;
}

H2ResponseHead::Fault H2ResponseHead::fault() const noexcept
{
    return fault_ == Fault::none && status_ == 0 ? Fault::malformed : fault_;
}

BlockRef H2ResponseHead::write(Rest rest, Asked asked) const
{
    // A body without a length: its frames delimit it, as chunks would.
    const bool may_have_body = status_ >= 200 && status_ != 204 && status_ != 304 && asked == Asked::for_all;
    std::string_view framing;
    if (may_have_body && !has_length_) {
        framing = rest == Rest::body ? "Transfer-Encoding: chunked\r\n" : "Content-Length: 0\r\n";
    }
    const std::string_view reason = http::reason_phrase(status_);
    const char digits[4] = {static_cast<char>('0' + status_ / 100), static_cast<char>('0' + status_ / 10 % 10),
                            static_cast<char>('0' + status_ % 10), ' '};
    const std::string_view pieces[] = {"HTTP/1.1 ", {digits, sizeof digits}, reason, "\r\n", lines_, framing, "\r\n"};
    BlockRef block = BlockRef::make_exactly(lines_.size() + reason.size() + 64);
    char* at = block->data;
    for (const std::string_view piece : pieces) {
        at += piece.copy(at, piece.size());
    }
    block->used = static_cast<std::uint32_t>(at - block->data);
    return block;
}

void H2ResponseHead::clear() noexcept
{
    lines_.clear();
    bytes_ = 0;
    status_ = 0;
    has_length_ = false;
    fault_ = Fault::none;
}

} // namespace ladle::worker
