// SPDX-License-Identifier: Apache-2.0
//
// Memory of a connection that gives its pages back while nobody uses it. A library's object for a connection, OpenSSL's SSL or
// nghttp2's session, takes kilobytes for as long as the connection lasts, and most of them are zeros (buffers, tables, secrets of a
// handshake that is over). So such objects lie in slots of whole pages, each of one connection. One that rests is packed: its words
// that are not zero go elsewhere, and the pages back to the kernel. It wakes at the same address, so that no pointer to it or into
// it has to be known, whatever the library's version. Only what nothing but its connection points to may lie there.
//
// In the worker; single-threaded. The slots of a kind lie in one range of addresses, which is reserved once and never given back:
// whoever finds none takes memory that does not rest.
#pragma once

#include "common/loop/loop.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace ladle::worker {

/// Slots of one size.
class PageSlots {
public:
    static constexpr std::size_t kPage = 4096;

    constexpr PageSlots(std::size_t pages, std::size_t count) noexcept : slot_bytes_(pages * kPage), most_(count) {}
    PageSlots(const PageSlots&) = delete;
    PageSlots& operator=(const PageSlots&) = delete;

    std::size_t slot_bytes() const noexcept { return slot_bytes_; }
    bool owns(const void* at) const noexcept
    {
        const auto* byte = static_cast<const char*>(at);
        return byte >= base_ && byte < base_ + opened_ * slot_bytes_;
    }
    /// Null: there is none, now or ever. What lies in it is what the last user left.
    void* take() noexcept;
    void give_back(void* slot) noexcept;

private:
    bool open() noexcept;

    std::size_t slot_bytes_;
    std::size_t most_;
    char* base_ = nullptr;
    std::size_t opened_ = 0;  ///< slots
    bool is_refused_ = false; ///< the kernel has no such range for us
    std::vector<char*> free_;
};

/// The use of one slot.
class Resting : private loop::Link {
public:
    /// `slot` has so many bytes, and outlives this; null = nothing rests.
    Resting(void* slot, std::size_t bytes) noexcept : slot_(slot), bytes_(bytes) {}
    ~Resting() { use(); }

    /// Before each use: wakes it.
    void use() noexcept
    {
        is_used_ = true;
        if (packed_) {
            wake();
        }
    }
    /// From now on, whenever nobody has used it for a while. Whoever uses it does so from within the loop's callbacks, and is done
    /// with it when they end.
    void may_rest() noexcept;
    bool is_resting() const noexcept { return packed_ != nullptr; }

    /// Packs those that nobody has used for a second or two, some of them at a time: to be called ten times a second.
    static void rest_unused(loop::Nanos now) noexcept;

private:
    void rest() noexcept;
    void wake() noexcept;

    static inline loop::Link awake_; ///< those that may rest, by looked_at_

    void* slot_;
    std::size_t bytes_;
    std::unique_ptr<std::uint64_t[]> packed_; ///< null = awake
    std::size_t packed_words_ = 0;
    loop::Nanos looked_at_ = 0;
    bool is_used_ = true; ///< since then
};

} // namespace ladle::worker
