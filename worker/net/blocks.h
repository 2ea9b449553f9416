// SPDX-License-Identifier: Apache-2.0
//
// Memory for bytes on their way: blocks of 16 KiB from a per-process pool, shared by reference, and chains of slices of them, so
// that a body passes from socket to socket without being copied. Worker only, one thread: counts are plain. The pool's use is the
// metric buffer_bytes; who may hold how much is decided by delivery/spool_budget.h.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace ladle::shm {
struct ProcessRow;
}

namespace ladle::worker {

/// Where block use is counted; set once, before the first block.
void set_block_metrics(shm::ProcessRow& row) noexcept;

/// Buffers are scarce while this worker's are more than so many bytes: thousands of requests wait, each may have little then.
void set_plenty(std::uint64_t bytes) noexcept;
bool buffers_are_scarce() noexcept;

struct Block {
    std::uint32_t references;
    std::uint32_t capacity; ///< of data
    std::uint32_t used;     ///< bytes filled from the front; only the last holder appends
    char data[1];           ///< really `capacity` bytes
};

inline constexpr std::size_t kBlockBytes = 16 << 10; ///< with its header

/// A counted reference to a block.
class BlockRef {
public:
    BlockRef() = default;
    /// A pooled block, or a larger one of its own if `capacity` asks for more; one of 4 KiB when buffers are scarce.
    static BlockRef make(std::size_t capacity = 0);
    /// One of its own of just that capacity, for what stays: a pooled one would be many times as large.
    static BlockRef make_exactly(std::size_t capacity);
    BlockRef(const BlockRef& other) noexcept : block_(other.block_)
    {
        if (block_ != nullptr) {
            ++block_->references;
        }
    }
    BlockRef(BlockRef&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
    BlockRef& operator=(BlockRef other) noexcept
    {
        std::swap(block_, other.block_);
        return *this;
    }
    ~BlockRef() { reset(); }
    void reset() noexcept
    {
        if (block_ != nullptr) {
            drop(*std::exchange(block_, nullptr));
        }
    }

    explicit operator bool() const noexcept { return block_ != nullptr; }
    Block* operator->() const noexcept { return block_; }
    Block& operator*() const noexcept { return *block_; }
    bool operator==(const BlockRef& other) const noexcept { return block_ == other.block_; }

private:
    explicit BlockRef(Block* block) noexcept : block_(block) {}
    static void drop(Block& block) noexcept;
    Block* block_ = nullptr;
};

struct Slice {
    BlockRef block;
    std::uint32_t at = 0;
    std::uint32_t length = 0;

    std::string_view view() const noexcept { return {block->data + at, length}; }
};

/// Bytes in order, as slices.
class Chain {
public:
    bool empty() const noexcept { return bytes_ == 0; }
    std::size_t bytes() const noexcept { return bytes_; }
    void append(Slice slice);
    /// Copies; for short texts. Uses the last block's room if it may.
    void append_copy(std::string_view text);
    /// Takes all of `other`'s bytes; `other` may go on reading into the room behind them.
    void append(Chain&& other);
    /// A slice of `block`, or a copy when it is so short that a slice would cost more.
    void append_part(const BlockRef& block, std::string_view part);

    /// Room at the end of the last block that a read may fill, at least `least` bytes (a new block if need be). Follow with
    /// filled().
    std::pair<char*, std::size_t> room(std::size_t least);
    void filled(std::size_t n);

    /// Fills `vectors` from the front; returns how many.
    int vectors(iovec* out, int most) const noexcept;
    void consume(std::size_t n) noexcept;
    /// Moves up to `most` bytes from the front to the end of `out`; returns how many.
    std::size_t move_to(Chain& out, std::size_t most);
    /// The same, leaving them here too, from byte `from` on.
    std::size_t share_to(Chain& out, std::size_t from, std::size_t most) const;
    void clear() noexcept;

private:
    std::vector<Slice> slices_;
    std::size_t first_ = 0;
    std::size_t bytes_ = 0;
    BlockRef tail_; ///< the block that room() handed out last
};

} // namespace ladle::worker
