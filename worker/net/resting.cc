// SPDX-License-Identifier: Apache-2.0
#include "worker/net/resting.h"

#include "common/base/sanitized.h"

#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::size_t kOpenBytes = 1 << 20; // that are opened at once
constexpr std::size_t kWarm = 64;           // free slots that keep their pages, for the next connections
constexpr loop::Nanos kRestAfter = 1'000'000'000;
constexpr int kMostAtOnce = 512; // a millisecond or two
constexpr std::size_t kBits = 64;

} // namespace

void* PageSlots::take() noexcept
{
    if constexpr (kIsAddressSanitized) {
        return nullptr;
    }
    if (free_.empty() && !open()) {
        return nullptr;
    }
    void* slot = free_.back();
    free_.pop_back();
    return slot;
}

void PageSlots::give_back(void* slot) noexcept
{
    if (free_.size() >= kWarm) {
        ::madvise(slot, slot_bytes_, MADV_DONTNEED);
    }
    free_.push_back(static_cast<char*>(slot)); // has room: reserved by open()
}

bool PageSlots::open() noexcept
{
    if (base_ == nullptr && !is_refused_) {
        void* at = ::mmap(nullptr, most_ * slot_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        is_refused_ = at == MAP_FAILED;
        if (!is_refused_) {
            base_ = static_cast<char*>(at);
            ::madvise(base_, most_ * slot_bytes_, MADV_NOHUGEPAGE); // a large page would keep what is given back
            ::madvise(base_, most_ * slot_bytes_, MADV_DONTDUMP);   // keys of connections
        }
    }
    const std::size_t count = std::min(kOpenBytes / slot_bytes_, most_ - opened_);
    if (is_refused_ || count == 0) {
        return false;
    }
    char* first = base_ + opened_ * slot_bytes_;
    if (::mprotect(first, count * slot_bytes_, PROT_READ | PROT_WRITE) != 0) {
        return false;
    }
    try {
        free_.reserve(opened_ + count);
    } catch (const std::bad_alloc&) {
        return false;
    }
    opened_ += count;
    for (std::size_t at = count; at > 0; --at) {
        free_.push_back(first + (at - 1) * slot_bytes_);
    }
    return true;
}

void Resting::may_rest() noexcept
{
    if (slot_ != nullptr) {
        insert_before(awake_);
    }
}

void Resting::rest_unused(loop::Nanos now) noexcept
{
    for (int looked = 0; looked < kMostAtOnce && awake_.is_linked(); ++looked) {
        auto& first = static_cast<Resting&>(*awake_.next);
        if (first.looked_at_ + kRestAfter > now) {
            return;
        }
        if (std::exchange(first.is_used_, false)) {
            first.looked_at_ = now;
            first.insert_before(awake_);
        } else {
            first.unlink();
            first.rest();
        }
    }
}

/// Packed: for 64 words each a word with a bit for each that is not zero; then those.
void Resting::rest() noexcept
{
    const auto* slot = static_cast<const std::uint64_t*>(slot_);
    const std::size_t words = bytes_ / sizeof *slot;
    const std::size_t maps = words / kBits;
    const auto zeros = static_cast<std::size_t>(std::count(slot, slot + words, std::uint64_t{0}));
    const std::size_t size = maps + words - zeros;
    std::unique_ptr<std::uint64_t[]> packed(new (std::nothrow) std::uint64_t[size]);
    if (!packed) {
        return;
    }
    std::uint64_t* to = packed.get() + maps;
    for (std::size_t part = 0; part < maps; ++part) {
        std::uint64_t map = 0;
        for (std::size_t bit = 0; bit < kBits; ++bit) {
            if (const std::uint64_t word = slot[part * kBits + bit]; word != 0) {
                map |= std::uint64_t{1} << bit;
                *to++ = word;
            }
        }
        packed[part] = map;
    }
    if (::madvise(slot_, bytes_, MADV_DONTNEED) != 0) { // the pages are locked
        ::explicit_bzero(packed.get(), size * sizeof *slot);
        return;
    }
    packed_ = std::move(packed);
    packed_words_ = size;
}

void Resting::wake() noexcept
{
    auto* slot = static_cast<std::uint64_t*>(slot_); // pages of zeros
    const std::size_t maps = bytes_ / sizeof *slot / kBits;
    const std::uint64_t* from = packed_.get() + maps;
    for (std::size_t part = 0; part < maps; ++part) {
        for (std::uint64_t map = packed_[part]; map != 0; map &= map - 1) {
            slot[part * kBits + static_cast<std::size_t>(std::countr_zero(map))] = *from++;
        }
    }
    ::explicit_bzero(packed_.get(), packed_words_ * sizeof *slot); // it has keys
    packed_.reset();
    insert_before(awake_);
    looked_at_ = 0;
}

} // namespace ladle::worker
