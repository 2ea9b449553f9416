// SPDX-License-Identifier: Apache-2.0
#include "worker/client/h2_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace ladle::worker {

namespace {

constexpr std::size_t kH2Pages = 7;
constexpr std::size_t kMostH2 = 1 << 17;    // connections of a worker that can rest: 3.5 GiB of addresses
constexpr std::size_t kHead = 16;         // before each piece of a slot: its size
constexpr std::size_t kAlignment = 16;

constinit PageSlots g_h2_slots(kH2Pages, kMostH2);

} // namespace

H2Memory::H2Memory() noexcept : slot_(static_cast<char*>(g_h2_slots.take())), memory_(slot_, g_h2_slots.slot_bytes())
{
}

H2Memory::~H2Memory()
{
    if (slot_ != nullptr) {
        memory_.use();
        g_h2_slots.give_back(slot_);
    }
}

nghttp2_mem H2Memory::functions() noexcept
{
    return {this, &H2Memory::on_malloc, &H2Memory::on_free, &H2Memory::on_calloc, &H2Memory::on_realloc};
}

/// A piece of the slot; null = it has no room, or it is not the time.
void* H2Memory::take(std::size_t size) noexcept
{
    const std::size_t whole = kHead + (size + kAlignment - 1) / kAlignment * kAlignment;
    if (!is_filling_ || slot_ == nullptr || size > g_h2_slots.slot_bytes() || used_ + whole > g_h2_slots.slot_bytes()) {
        return nullptr;
    }
    char* piece = slot_ + used_;
    used_ += whole;
    std::memcpy(piece, &size, sizeof size);
    return piece + kHead;
}

void* H2Memory::on_malloc(std::size_t size, void* self)
{
    void* piece = static_cast<H2Memory*>(self)->take(size);
    return piece != nullptr ? piece : std::malloc(size);
}

void H2Memory::on_free(void* at, void*)
{
    if (!g_h2_slots.owns(at)) { // what lies in the slot goes with it
        std::free(at);
    }
}

void* H2Memory::on_calloc(std::size_t count, std::size_t size, void* self)
{
    void* piece = size == 0 || count <= g_h2_slots.slot_bytes() / size ? static_cast<H2Memory*>(self)->take(count * size) : nullptr;
    if (piece == nullptr) {
        return std::calloc(count, size);
    }
    std::memset(piece, 0, count * size);
    return piece;
}

void* H2Memory::on_realloc(void* at, std::size_t size, void* self)
{
    if (at == nullptr) {
        return on_malloc(size, self);
    }
    if (!g_h2_slots.owns(at)) {
        return std::realloc(at, size);
    }
    std::size_t had = 0;
    std::memcpy(&had, static_cast<char*>(at) - kHead, sizeof had);
    void* moved = std::malloc(size);
    if (moved != nullptr) {
        std::memcpy(moved, at, std::min(had, size));
    }
    return moved;
}

} // namespace ladle::worker
