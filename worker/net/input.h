// SPDX-License-Identifier: Apache-2.0
//
// Received bytes that are not used yet, in one piece: what the head parsers read from. Holds a block only while there are bytes or
// a read is being tried, so an idle connection has none. Bytes that somebody still refers to (a parsed head, slices of a body) stay
// where they are: the next bytes then go into another block.
#pragma once

#include "worker/net/blocks.h"
#include "worker/net/socket.h"

#include <cstdint>
#include <string_view>

namespace ladle::worker {

class Input {
public:
    std::string_view unread() const noexcept
    {
        return block_ ? std::string_view(block_->data + begin_, end_ - begin_) : std::string_view{};
    }
    bool empty() const noexcept { return begin_ == end_; }
    /// Done with `n` bytes at the front.
    void consume(std::size_t n) noexcept { begin_ += static_cast<std::uint32_t>(n); }
    /// Reads once from the socket behind the unread bytes; they may move. Precondition: less than `limit` are unread.
    Io fill(Socket& socket, std::size_t limit);
    /// The block that unread() points into: keep a copy to keep the bytes.
    const BlockRef& block() const noexcept { return block_; }
    /// Gives the block up when nothing is unread.
    void release_if_empty() noexcept
    {
        if (empty()) {
            block_.reset();
            begin_ = end_ = 0;
        }
    }

    /// Whether somebody else holds the block too, so that giving it up frees nothing.
    bool is_shared() const noexcept { return block_ && block_->references > 1; }

private:
    void make_room(std::size_t limit);

    BlockRef block_;
    std::uint32_t begin_ = 0;
    std::uint32_t end_ = 0;
};

} // namespace ladle::worker
