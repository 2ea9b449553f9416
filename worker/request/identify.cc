// SPDX-License-Identifier: Apache-2.0
#include "worker/request/identify.h"

#include "worker/net/address.h"

#include <sys/random.h>
#include <xxhash.h>

#include <optional>

namespace ladle::worker {

namespace {

using http::FieldName;
constexpr std::size_t kLongestId = 128;

/// "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80", with quotes around or not.
std::optional<Address> parse_node(std::string_view text) noexcept
{
    if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
        text = text.substr(1, text.size() - 2);
    }
    if (text.starts_with('[')) {
        const std::size_t end = text.find(']');
        text = end == std::string_view::npos ? std::string_view{} : text.substr(1, end - 1);
    } else if (const std::size_t colon = text.find(':');
               colon != std::string_view::npos && text.find(':', colon + 1) == std::string_view::npos) {
        text = text.substr(0, colon);
    }
    return parse_address(text);
}

/// One parameter of a Forwarded element (RFC 7239 §4), without its quotes; `name` with its '='.
std::string_view parameter_of(std::string_view element, std::string_view name) noexcept
{
    while (!element.empty()) {
        const std::size_t end = element.find(';');
        const std::string_view pair = http::trim(element.substr(0, end));
        if (pair.size() > name.size() && http::equals_ignoring_case(pair.substr(0, name.size()), name)) {
            std::string_view value = pair.substr(name.size());
            if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
                value = value.substr(1, value.size() - 2);
            }
            return value;
        }
        element = end == std::string_view::npos ? std::string_view{} : element.substr(end + 1);
    }
    return {};
}

/// Walks the chain of hops; the last one that is not trusted is the client. Later elements stand nearer to us.
void believe_forwarded(Request& request)
{
    const http::Fields& fields = request.head.fields;
    const FieldName source = fields.has(FieldName::x_forwarded_for) ? FieldName::x_forwarded_for : FieldName::forwarded;
    std::optional<Address> client;
    std::string_view client_element;
    for (const http::Field& field : fields) {
        if (field.id != source) {
            continue;
        }
        std::string_view rest = fields.value(field);
        std::string_view element;
        while (http::next_list_element(rest, element)) {
            const auto hop = parse_node(source == FieldName::forwarded ? parameter_of(element, "for=") : element);
            if (!hop) {
                client.reset(); // whoever that is could have written all that stands before
            } else if (!client || !is_in(request.live->config->forwarded_from, *hop)) {
                client = hop;
                client_element = element;
            }
        }
    }
    if (client) {
        request.client_address = to_text(*client);
    }
    const bool says_more = source == FieldName::forwarded && client; // what the client's own element says of scheme and host
    const std::string_view proto = fields.has(FieldName::x_forwarded_proto) ? fields.value_of(FieldName::x_forwarded_proto)
                                   : says_more                              ? parameter_of(client_element, "proto=")
                                                                            : std::string_view{};
    if (http::equals_ignoring_case(proto, "https")) {
        request.scheme = "https";
    }
    const std::string_view host = says_more ? parameter_of(client_element, "host=") : std::string_view{};
    if (http::is_authority(host)) {
        request.forwarded_host = host;
    }
}

/// 128 random bits as 32 hex digits, from a small per-process generator seeded by the kernel.
std::string make_id()
{
    static std::uint64_t state[2] = {0, 0};
    if (state[0] == 0 && state[1] == 0) {
        while (::getrandom(state, sizeof state, 0) != static_cast<ssize_t>(sizeof state)) {
        }
    }
    ++state[0];
    const XXH128_hash_t hash = XXH3_128bits_withSeed(state, sizeof state, state[1]);
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string id(32, '0');
    for (unsigned i = 0; i < 16; ++i) {
        id[i] = kDigits[hash.high64 >> (4 * i) & 15u];
        id[16 + i] = kDigits[hash.low64 >> (4 * i) & 15u];
    }
    return id;
}

bool is_good_id(std::string_view text) noexcept
{
    return !text.empty() && text.size() <= kLongestId && http::all_class(text, http::kHost);
}

} // namespace

bool is_client_in(const Request& request, std::span<const config::Cidr> ranges)
{
    const auto address = parse_node(request.client_address);
    return address && is_in(ranges, *address);
}

std::uint32_t client_bucket_of(std::string_view address, const shm::Regions& regions) noexcept
{
    const std::uint64_t hash = XXH3_64bits_withSeed(address.data(), address.size(), regions.header.seed);
    return static_cast<std::uint32_t>(hash % shm::kClientBuckets);
}

void identify(Request& request)
{
    request.client_address = request.client.peer_text;
    request.is_encrypted = request.client.encryption != nullptr;
    request.scheme = request.is_encrypted ? "https" : "http";
    const auto peer = address_of(request.client.peer);
    request.is_trusted_peer =
        peer && !request.live->config->forwarded_from.empty() && is_in(request.live->config->forwarded_from, *peer);
    if (request.is_trusted_peer) {
        believe_forwarded(request);
    }
    const std::string_view given = request.head.fields.value_of(FieldName::x_request_id);
    request.id = is_good_id(given) ? std::string(given) : make_id();
    request.client_bucket = client_bucket_of(request.client_address, request.parts.regions);
}

} // namespace ladle::worker
