// SPDX-License-Identifier: Apache-2.0
// Input as a row of texts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

/// The next piece: a length of one byte, and so many bytes.
inline std::string_view next_piece(std::string_view& input)
{
    if (input.empty()) {
        return {};
    }
    const std::size_t size = std::min<std::size_t>(static_cast<unsigned char>(input.front()), input.size() - 1);
    const std::string_view piece = input.substr(1, size);
    input.remove_prefix(1 + size);
    return piece;
}
