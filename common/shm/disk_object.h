// SPDX-License-Identifier: Apache-2.0
//
// A stored object as a file of the disk tier: what it is called and everything that is kept of it, so that the file alone says all.
//
//   │ prefix: magic, version, lengths, numbers │ tags │ meta │ url │ variant │ head │ XXH3-64 of each 64 KiB of the body │ XXH3-64 of all before │ body … │
//
// Nothing in a file is believed before its hash has been compared: read() checks the whole header at once, is_block_good() each block
// of the body before any byte of it is used. A file is written once, by one worker, and never changed. Numbers are the machine's own:
// a file of another kind of machine, version or seed is no object. Pure: bytes in, bytes out.
#pragma once

#include "common/shm/cache_fills.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::shm {

inline constexpr std::size_t kDiskBlockBytes = std::size_t{64} << 10;
inline constexpr std::size_t kDiskPrefixBytes = 104;           ///< what header_bytes_of() looks at
inline constexpr std::size_t kMostDiskHeaderBytes = std::size_t{16} << 20; ///< enough for the hashes of 100 GiB

/// What a file holds beside the body. Texts are borrowed: of the writer, or of the DiskHeader that was read.
struct DiskObject {
    std::uint64_t number = 0; ///< of the file
    std::uint64_t seed = 0;   ///< of the hash and the tags
    CacheHash hash;           ///< of url and variant
    std::uint64_t epoch = 0;  ///< of the purge table, when its fetch began
    std::int64_t stored_ms = 0; ///< Unix time of writing
    std::uint64_t body_bytes = 0;
    bool is_vary_record = false;
    std::string_view meta; ///< opaque
    std::string_view url;
    std::string_view variant;
    std::string_view head;
    std::vector<std::uint64_t> tags;
};

/// Blocks of a body of that length; the last may be shorter.
std::uint64_t disk_blocks_of(std::uint64_t body_bytes) noexcept;
/// Length of the header in front of the body; 0 = too much for one.
std::uint64_t disk_header_bytes(const DiskObject& object) noexcept;
/// The same, of an object with another body.
std::uint64_t disk_header_bytes(const DiskObject& object, std::uint64_t body_bytes) noexcept;
std::uint64_t hash_disk_block(std::string_view block) noexcept;

/// The header's bytes; `blocks`: the hashes of all blocks of the body.
std::string make_disk_header(const DiskObject& object, const std::vector<std::uint64_t>& blocks);

class DiskHeader {
public:
    DiskHeader() = default;
    DiskHeader(const DiskHeader&) = delete;
    DiskHeader& operator=(const DiskHeader&) = delete;

    /// How long the header is, by its first kDiskPrefixBytes; 0 = this is none.
    static std::uint64_t header_bytes_of(std::string_view prefix) noexcept;

    /// Takes a header of exactly the length that its prefix says. False when a single bit of it is wrong.
    [[nodiscard]] bool read(std::string bytes);

    const DiskObject& object() const noexcept { return object_; }
    std::uint64_t bytes() const noexcept { return bytes_.size(); }
    /// The hashes of the body's blocks.
    const std::vector<std::uint64_t>& blocks() const noexcept { return blocks_; }
    /// How long the whole file is.
    std::uint64_t file_bytes() const noexcept { return bytes_.size() + object_.body_bytes; }
    /// Whether `block` is the body's block of this number, which has the length that it should have.
    bool is_block_good(std::uint64_t number, std::string_view block) const noexcept;

private:
    std::string bytes_;
    DiskObject object_;
    std::vector<std::uint64_t> blocks_;
};

} // namespace ladle::shm
