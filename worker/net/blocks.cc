// SPDX-License-Identifier: Apache-2.0
#include "worker/net/blocks.h"

#include "common/base/assert.h"
#include "common/base/sanitized.h"
#include "common/shm/rows.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace ladle::worker {

namespace {

constexpr std::size_t kHeaderBytes = offsetof(Block, data);
constexpr std::size_t kPooledCapacity = kBlockBytes - kHeaderBytes;
constexpr std::size_t kScarceCapacity = (4 << 10) - kHeaderBytes;
constexpr std::size_t kKeptBlocks = kIsAddressSanitized ? 0 : 256; // 4 MiB; a burst's blocks go back to the heap
constexpr std::size_t kCopyBelow = 256;                             // copying this much is cheaper than another iovec and slice

shm::ProcessRow* g_row = nullptr;
std::vector<Block*> g_free;
std::uint64_t g_plenty = UINT64_MAX;

void count(std::size_t bytes, bool more) noexcept
{
    if (g_row != nullptr) {
        more ? g_row->add(shm::Metric::buffer_bytes, bytes) : g_row->subtract(shm::Metric::buffer_bytes, bytes);
    }
}

Block* new_block(std::size_t capacity)
{
    if (capacity == kPooledCapacity && !g_free.empty()) {
        Block* block = g_free.back();
        g_free.pop_back();
        return block;
    }
    void* memory = std::malloc(kHeaderBytes + capacity);
    LADLE_ASSERT(memory != nullptr);
    return ::new (memory) Block{0, static_cast<std::uint32_t>(capacity), 0, {}};
}

} // namespace

void set_block_metrics(shm::ProcessRow& row) noexcept
{
    g_row = &row;
    g_free.reserve(kKeptBlocks);
}

void set_plenty(std::uint64_t bytes) noexcept
{
    g_plenty = bytes;
}

bool buffers_are_scarce() noexcept
{
    return g_row != nullptr && g_row->value(shm::Metric::buffer_bytes) > g_plenty;
}

BlockRef BlockRef::make(std::size_t capacity)
{
    return make_exactly(std::max(capacity, buffers_are_scarce() ? kScarceCapacity : kPooledCapacity));
}

BlockRef BlockRef::make_exactly(std::size_t capacity)
{
    Block* block = new_block(capacity);
    block->references = 1;
    block->used = 0;
    count(kHeaderBytes + block->capacity, true);
    return BlockRef(block);
}

void BlockRef::drop(Block& block) noexcept
{
    if (--block.references != 0) {
        return;
    }
    count(kHeaderBytes + block.capacity, false);
    if (block.capacity == kPooledCapacity && g_free.size() < kKeptBlocks) {
        g_free.push_back(&block);
    } else {
        std::free(&block);
    }
}

void Chain::append(Slice slice)
{
    if (slice.length == 0) {
        return;
    }
    bytes_ += slice.length;
    if (slices_.size() > first_) {
        Slice& last = slices_.back();
        if (last.block == slice.block && last.at + last.length == slice.at) {
            last.length += slice.length;
            return;
        }
    }
    slices_.push_back(std::move(slice));
}

void Chain::append(Chain&& other)
{
    if (empty() && first_ == 0 && slices_.empty()) {
        std::swap(slices_, other.slices_);
        std::swap(first_, other.first_);
        std::swap(bytes_, other.bytes_);
    } else {
        for (std::size_t i = other.first_; i < other.slices_.size(); ++i) {
            append(std::move(other.slices_[i]));
        }
    }
    // `other` keeps its tail block: what it reads next fills the room behind these bytes.
    other.slices_.clear();
    other.first_ = 0;
    other.bytes_ = 0;
}

void Chain::append_copy(std::string_view text)
{
    while (!text.empty()) {
        const auto [at, size] = room(1);
        const std::size_t n = std::min(size, text.size());
        std::memcpy(at, text.data(), n);
        filled(n);
        text.remove_prefix(n);
    }
}

void Chain::append_part(const BlockRef& block, std::string_view part)
{
    if (part.size() < kCopyBelow) {
        append_copy(part);
        return;
    }
    append(Slice{block, static_cast<std::uint32_t>(part.data() - block->data), static_cast<std::uint32_t>(part.size())});
}

std::pair<char*, std::size_t> Chain::room(std::size_t least)
{
    if (!tail_ || tail_->capacity - tail_->used < least) {
        tail_ = BlockRef::make(least);
    }
    return {tail_->data + tail_->used, tail_->capacity - tail_->used};
}

void Chain::filled(std::size_t n)
{
    if (n == 0) {
        return;
    }
    const std::uint32_t at = tail_->used;
    tail_->used += static_cast<std::uint32_t>(n);
    append(Slice{tail_, at, static_cast<std::uint32_t>(n)});
}

int Chain::vectors(iovec* out, int most) const noexcept
{
    int n = 0;
    for (std::size_t i = first_; i < slices_.size() && n < most; ++i, ++n) {
        out[n] = iovec{slices_[i].block->data + slices_[i].at, slices_[i].length};
    }
    return n;
}

void Chain::consume(std::size_t n) noexcept
{
    bytes_ -= n;
    while (n > 0) {
        Slice& front = slices_[first_];
        const auto part = static_cast<std::uint32_t>(std::min<std::size_t>(n, front.length));
        front.at += part;
        front.length -= part;
        n -= part;
        if (front.length == 0) {
            front.block.reset();
            ++first_;
        }
    }
    if (first_ == slices_.size()) {
        clear();
    } else if (first_ > 64 && first_ * 2 > slices_.size()) {
        slices_.erase(slices_.begin(), slices_.begin() + static_cast<std::ptrdiff_t>(first_));
        first_ = 0;
    }
}

std::size_t Chain::move_to(Chain& out, std::size_t most)
{
    const std::size_t n = share_to(out, 0, most);
    consume(n);
    return n;
}

std::size_t Chain::share_to(Chain& out, std::size_t from, std::size_t most) const
{
    std::size_t moved = 0;
    for (std::size_t i = first_; i < slices_.size() && moved < most; ++i) {
        Slice part = slices_[i];
        if (from >= part.length) {
            from -= part.length;
            continue;
        }
        part.at += static_cast<std::uint32_t>(from);
        part.length -= static_cast<std::uint32_t>(from);
        from = 0;
        part.length = static_cast<std::uint32_t>(std::min<std::size_t>(part.length, most - moved));
        moved += part.length;
        out.append(std::move(part));
    }
    return moved;
}

void Chain::clear() noexcept
{
    slices_.clear();
    first_ = 0;
    bytes_ = 0;
    tail_.reset();
}

} // namespace ladle::worker
