// SPDX-License-Identifier: Apache-2.0
//
// H2Head: makes of an HTTP/2 request's fields the HTTP/1.1 head that says the same (RFC 9113 §8.3), so that both protocols go
// through one parser and one admission. What cannot be said unambiguously is refused here or by that parser: nothing is repaired.
// Pure: bytes in, bytes out. One for each stream, for as long as its head is gathered.
#pragma once

#include "worker/net/blocks.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ladle::worker {

class H2Head {
public:
    enum class Fault : std::uint8_t {
        none,
        malformed,     ///< an unknown pseudo-field or scheme, or a field that is for one connection only
        two_hosts,     ///< :authority and Host differ
        bad_protocol,  ///< an extended CONNECT to anything but WebSocket
        too_large,     ///< more than the limit
    };

    explicit H2Head(std::size_t most_bytes) noexcept : most_(most_bytes) {}

    /// Takes the next field, in the order in which they came. False: there is no more room, further fields need not be told.
    bool add(std::string_view name, std::string_view value);

    /// What follows the head.
    enum class Rest : std::uint8_t { nothing, body };
    /// Whether the client's connection is one that an https target may come on.
    enum class Channel : std::uint8_t { plain, secured };
    /// Writes the head into a block of its own. Precondition: fault() is none.
    BlockRef write(Rest rest, Channel channel) const;

    /// Bytes that are kept of it.
    std::size_t held() const noexcept { return texts_.capacity() + lines_.capacity() + cookie_.capacity(); }
    /// It was written: its fields are not needed any more.
    void forget() noexcept;
    /// What is wrong with all that was added.
    Fault fault() const noexcept;
    /// RFC 8441: the client wants a tunnel to `protocol`; written as the GET with Upgrade that says the same.
    bool is_extended_connect() const noexcept { return protocol_.length != 0; }

private:
    struct Piece { ///< of texts_
        std::uint32_t at = 0;
        std::uint32_t length = 0;
    };
    void keep(Piece& piece, std::string_view value);
    std::string_view view(Piece piece) const noexcept { return std::string_view(texts_).substr(piece.at, piece.length); }
    bool add_pseudo(std::string_view name, std::string_view value);
    std::string first_lines(Rest rest, Channel channel) const;

    std::size_t most_;
    std::size_t bytes_ = 0; ///< added so far, as HTTP/1 would write them
    std::string texts_;     ///< what the pieces are places of
    Piece method_;
    Piece scheme_;
    Piece authority_;
    Piece path_;
    Piece protocol_;
    Piece host_;
    std::string lines_;  ///< of all other fields
    std::string cookie_; ///< its crumbs, joined (RFC 9113 §8.2.3)
    bool has_length_ = false;
    Fault fault_ = Fault::none;
};

} // namespace ladle::worker
