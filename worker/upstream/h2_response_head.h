// SPDX-License-Identifier: Apache-2.0
//
// H2ResponseHead: makes of the fields of an HTTP/2 response (RFC 9113 §8.3.2) the HTTP/1.1 head that says the same, so that both
// protocols go through one parser. What cannot be said unambiguously is refused here or by that parser: nothing is repaired. Pure:
// bytes in, bytes out. One for each stream, for as long as a head is gathered.
#pragma once

#include "worker/net/blocks.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ladle::worker {

class H2ResponseHead {
public:
    explicit H2ResponseHead(std::size_t most_bytes) noexcept : most_(most_bytes) {}

    enum class Fault : std::uint8_t {
        none,
        malformed, ///< no :status or two, an unknown pseudo-field, or a field that is for one connection only
        too_large,
    };

    /// Takes the next field, in the order in which they came. False: there is no more room, further fields need not be told.
    bool add(std::string_view name, std::string_view value);
    /// What is wrong with all that was added.
    Fault fault() const noexcept;
    /// Whether it is an interim response. Precondition: fault() is none.
    bool is_interim() const noexcept { return status_ < 200; }

    /// What follows the head.
    enum class Rest : std::uint8_t { nothing, body };
    /// Whether the request was one whose response has no body (HEAD).
    enum class Asked : std::uint8_t { for_all, for_head };
    /// Writes the head into a block of its own. Precondition: fault() is none.
    BlockRef write(Rest rest, Asked asked) const;
    /// Ready for the next one.
    void clear() noexcept;

private:
    std::size_t most_;
    std::size_t bytes_ = 0; ///< added so far, as HTTP/1 would write them
    std::string lines_;
    std::uint16_t status_ = 0; ///< 0 = not seen
    bool has_length_ = false;
    Fault fault_ = Fault::none;
};

} // namespace ladle::worker
