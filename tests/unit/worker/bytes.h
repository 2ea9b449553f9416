// SPDX-License-Identifier: Apache-2.0
//
// Bytes for tests: made by their place in a stream, so that a loss, a repetition or a mix-up shows; and read out of a chain. Test
// process only; owns nothing.
#pragma once

#include "worker/net/blocks.h"

#include <cstdint>
#include <string>

namespace ladle::test {

/// Bytes `from`, `from` + 1, … of the endless stream.
inline std::string make_bytes(std::uint64_t from, std::size_t n)
{
    std::string text(n, '\0');
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint64_t at = from + i;
        text[i] = static_cast<char>((at * 2654435761u) >> 13 & 0xff);
    }
    return text;
}

inline std::string bytes_of(const worker::Chain& chain)
{
    std::string text;
    worker::Chain copy;
    chain.share_to(copy, 0, chain.bytes());
    iovec vector{};
    while (copy.vectors(&vector, 1) == 1) {
        text.append(static_cast<const char*>(vector.iov_base), vector.iov_len);
        copy.consume(vector.iov_len);
    }
    return text;
}

} // namespace ladle::test
