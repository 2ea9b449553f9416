// SPDX-License-Identifier: Apache-2.0
#include "worker/request/hop_by_hop.h"

#include <algorithm>
#include <array>
#include <vector>

namespace ladle::worker {

namespace {

using http::FieldName;

bool is_always_dropped(FieldName id) noexcept
{
    switch (id) {
    case FieldName::connection:
    case FieldName::keep_alive:
    case FieldName::proxy_connection:
    case FieldName::te:
    case FieldName::transfer_encoding:
    case FieldName::upgrade:
    case FieldName::content_length: // written anew from the framing
        return true;
    default:
        return false;
    }
}

/// Fields that an option in Connection cannot take away: the next server decides by them, or we set them.
bool is_protected(FieldName id, std::string_view name) noexcept
{
    switch (id) {
    case FieldName::host:
    case FieldName::authorization:
    case FieldName::cookie:
    case FieldName::set_cookie:
    case FieldName::content_type:
    case FieldName::content_encoding:
    case FieldName::content_range:
    case FieldName::range:
    case FieldName::cache_control:
    case FieldName::via:
    case FieldName::early_data:
    case FieldName::forwarded:
    case FieldName::x_forwarded_for:
    case FieldName::x_forwarded_host:
    case FieldName::x_forwarded_proto:
    case FieldName::x_mirrored:
    case FieldName::x_request_id:
        return true;
    default:
        return http::equals_ignoring_case(name, "proxy-authorization") || http::equals_ignoring_case(name, "www-authenticate");
    }
}

/// An order of names without case.
bool comes_before(std::string_view a, std::string_view b) noexcept
{
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                        [](char x, char y) { return http::to_lower(x) < http::to_lower(y); });
}

/// Reads the options of one Connection field: known fields into the set `known` (a bit per FieldName), other names into `listed`.
void read_options(std::string_view rest, std::uint64_t& known, std::vector<std::string_view>& listed)
{
    std::string_view option;
    while (http::next_list_element(rest, option)) {
        const FieldName id = http::find_field_name(option);
        if (is_always_dropped(id) || is_protected(id, option) || http::equals_ignoring_case(option, "close")) {
            continue; // of all three, what the option says changes nothing
        }
        if (id == FieldName::other) {
            listed.push_back(option);
        } else {
            known |= std::uint64_t{1} << static_cast<unsigned>(id);
        }
    }
}

constexpr std::array<std::string_view, 12> kForbiddenTrailers = {
    "if-match",         "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "vary",
    "www-authenticate", "expires",       "proxy-authenticate", "proxy-authorization", "pragma",   "retry-after",
};

} // namespace

void mark_hop_by_hop(http::Fields& fields)
{
    std::uint64_t known = 0;
    std::vector<std::string_view> listed; // options that name no known field
    for (http::Field& field : fields) {
        if (is_always_dropped(field.id)) {
            field.is_dropped = true;
        }
        if (field.id == FieldName::connection) {
            read_options(fields.value(field), known, listed);
        }
    }
    if (known == 0 && listed.empty()) {
        return;
    }
    // Sorted, so that thousands of options and fields cost no more than their number says.
    std::sort(listed.begin(), listed.end(), comes_before);
    for (http::Field& field : fields) {
        const bool is_listed = field.id == FieldName::other
                                   ? std::binary_search(listed.begin(), listed.end(), fields.name(field), comes_before)
                                   : (known >> static_cast<unsigned>(field.id) & 1u) != 0;
        field.is_dropped = field.is_dropped || is_listed;
    }
}

void mark_look_alikes(http::Fields& fields)
{
    char dashed[64];
    for (http::Field& field : fields) {
        const std::string_view name = fields.name(field);
        if (field.id != FieldName::other || name.size() > sizeof dashed || name.find('_') == std::string_view::npos) {
            continue;
        }
        std::replace_copy(name.begin(), name.end(), dashed, '_', '-');
        const std::string_view meant(dashed, name.size());
        const FieldName id = http::find_field_name(meant);
        const bool is_override = std::ranges::find(http::kOverrides, id) != std::end(http::kOverrides);
        field.is_dropped = field.is_dropped || is_always_dropped(id) || is_protected(id, meant) || is_override;
    }
}

bool looks_like(std::string_view name, std::string_view wanted) noexcept
{
    const auto folded = [](char c) { return c == '_' ? '-' : http::to_lower(c); };
    return !wanted.empty() && std::ranges::equal(name, wanted, {}, folded, folded);
}

bool is_forbidden_trailer(FieldName id, std::string_view name) noexcept
{
    switch (id) {
    case FieldName::other:
        return std::any_of(kForbiddenTrailers.begin(), kForbiddenTrailers.end(),
                           [&](std::string_view forbidden) { return http::equals_ignoring_case(forbidden, name); });
    case FieldName::etag: // computed while sending: the example of RFC 9110 §6.5
        return false;
    default:
        return true;
    }
}

} // namespace ladle::worker
