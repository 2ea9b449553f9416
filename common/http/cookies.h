// SPDX-License-Identifier: Apache-2.0
//
// The cookies of a request, one after the other: pairs in Cookie fields, as RFC 6265 §5.4 has clients send them, taken as servers
// take them (blanks around a pair do not count; a pair without '=' is a name without a value). Pure.
#pragma once

#include "common/http/fields.h"

#include <algorithm>
#include <string_view>

namespace ladle::http {

/// Calls `use(name, value)` for each cookie until it returns true; whether it did.
template <typename Use>
bool any_cookie(const Fields& fields, Use use)
{
    for (const Field& field : fields) {
        std::string_view rest = field.id == FieldName::cookie ? fields.value(field) : std::string_view{};
        while (!rest.empty()) {
            const std::size_t end = std::min(rest.find(';'), rest.size());
            const std::string_view pair = trim(rest.substr(0, end));
            rest.remove_prefix(std::min(end + 1, rest.size()));
            const std::size_t equals = std::min(pair.find('='), pair.size());
            if (use(pair.substr(0, equals), pair.substr(std::min(equals + 1, pair.size())))) {
                return true;
            }
        }
    }
    return false;
}

/// The value of the first cookie of that name; empty where there is none.
inline std::string_view find_cookie(const Fields& fields, std::string_view wanted)
{
    std::string_view found;
    any_cookie(fields, [&](std::string_view name, std::string_view value) {
        found = name == wanted ? value : std::string_view{};
        return name == wanted;
    });
    return found;
}

/// Takes every cookie of that name out of a Cookie field's value, in its bytes; what is left stays as it was sent. Its new length.
std::size_t remove_cookie(char* value, std::size_t length, std::string_view name) noexcept;

} // namespace ladle::http
