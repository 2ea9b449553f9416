// SPDX-License-Identifier: Apache-2.0
//
// Numbers of protobuf, as far as Ladle reads messages of it itself.
#pragma once

#include <cstdint>
#include <string_view>

namespace ladle::worker {

/// A varint, taken from the front; false where there is none.
inline bool take_varint(std::string_view& bytes, std::uint64_t& value) noexcept
{
    value = 0;
    for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
        const auto byte = static_cast<unsigned char>(bytes.front());
        bytes.remove_prefix(1);
        value |= std::uint64_t{byte & 0x7fu} << shift;
        if ((byte & 0x80u) == 0) {
            return true;
        }
    }
    return false;
}

} // namespace ladle::worker
