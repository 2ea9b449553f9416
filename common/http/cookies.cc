// SPDX-License-Identifier: Apache-2.0
#include "common/http/cookies.h"

#include <cstring>

namespace ladle::http {

std::size_t remove_cookie(char* value, std::size_t length, std::string_view name) noexcept
{
    std::size_t kept = 0;
    for (std::size_t at = 0; at < length;) {
        const std::string_view rest(value + at, length - at);
        const std::string_view piece = rest.substr(0, rest.find(';'));
        const std::string_view pair = trim(piece);
        const bool is_wanted = pair.substr(0, pair.find('=')) == name;
        const std::size_t size = piece.size();
        if (!is_wanted && kept == 0) {
            std::memmove(value, pair.data(), pair.size());
            kept = pair.size();
        } else if (!is_wanted) {
            std::memmove(value + kept + 1, piece.data(), size); // behind at least one ';' that is there already
            value[kept] = ';';
            kept += size + 1;
        }
        at += size + 1;
    }
    return trim({value, kept}).size();
}

} // namespace ladle::http
