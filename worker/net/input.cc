// SPDX-License-Identifier: Apache-2.0
#include "worker/net/input.h"

#include <algorithm>
#include <cstring>

namespace ladle::worker {

void Input::make_room(std::size_t limit)
{
    const std::size_t unread_bytes = end_ - begin_;
    if (block_ && block_->references == 1 && unread_bytes == 0) {
        begin_ = end_ = 0;
    }
    if (block_ && end_ < block_->capacity) {
        return;
    }
    const std::size_t capacity = unread_bytes == 0 ? 0 : std::min(unread_bytes * 2, limit + 1);
    BlockRef larger = BlockRef::make(capacity);
    if (unread_bytes > 0) {
        std::memcpy(larger->data, block_->data + begin_, unread_bytes);
    }
    block_ = std::move(larger);
    begin_ = 0;
    end_ = static_cast<std::uint32_t>(unread_bytes);
}

Io Input::fill(Socket& socket, std::size_t limit)
{
    make_room(limit);
    const Io io = socket.read(block_->data + end_, block_->capacity - end_);
    end_ += static_cast<std::uint32_t>(io.bytes);
    block_->used = end_;
    return io;
}

} // namespace ladle::worker
