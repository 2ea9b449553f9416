// SPDX-License-Identifier: Apache-2.0
#include "common/shm/disk_object.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace ladle::shm {

namespace {

constexpr std::uint64_t kObjectMagic = 0x6c61646c6f626a31; // "ladlobj1"
constexpr std::uint32_t kObjectVersion = 2;
constexpr std::uint32_t kVaryRecord = 1;

struct Prefix {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t header_bytes;
    std::uint64_t number;
    std::uint64_t seed;
    std::uint64_t hash_low;
    std::uint64_t hash_high;
    std::uint64_t epoch;
    std::int64_t stored_ms;
    std::uint64_t body_bytes;
    std::uint32_t block_bytes;
    std::uint32_t flags;
    std::uint32_t meta_bytes;
    std::uint32_t url_bytes;
    std::uint32_t variant_bytes;
    std::uint32_t head_bytes;
    std::uint32_t tag_count;
    std::uint32_t unused;
};
static_assert(sizeof(Prefix) == kDiskPrefixBytes && std::is_trivially_copyable_v<Prefix>);

/// Of what the prefix tells; 0 = more than a header may have. No sum can overflow: there are seven of at most 2^35, and the blocks.
std::uint64_t total_of(const Prefix& prefix) noexcept
{
    if (prefix.body_bytes > kMostDiskHeaderBytes / 8 * kDiskBlockBytes) {
        return 0;
    }
    const std::uint64_t total = sizeof(Prefix) + std::uint64_t{prefix.tag_count} * 8 + prefix.meta_bytes + prefix.url_bytes +
                                prefix.variant_bytes + prefix.head_bytes + disk_blocks_of(prefix.body_bytes) * 8 + 8;
    return total > kMostDiskHeaderBytes ? 0 : total;
}

bool fits(std::string_view text) noexcept
{
    return text.size() <= kMostDiskHeaderBytes;
}

/// Takes the next part of a header whose length has been checked.
std::string_view take(std::string_view& rest, std::size_t bytes) noexcept
{
    const std::string_view part = rest.substr(0, bytes);
    rest.remove_prefix(part.size());
    return part;
}

std::vector<std::uint64_t> take_numbers(std::string_view& rest, std::uint64_t count)
{
    std::vector<std::uint64_t> numbers(count);
    const std::string_view part = take(rest, count * 8);
    if (!part.empty()) {
        std::memcpy(numbers.data(), part.data(), part.size());
    }
    return numbers;
}

void append_numbers(std::string& out, const std::vector<std::uint64_t>& numbers)
{
    out.append(reinterpret_cast<const char*>(numbers.data()), numbers.size() * 8);
}

Prefix prefix_of(const DiskObject& object) noexcept
{
    Prefix prefix{};
    prefix.magic = kObjectMagic;
    prefix.version = kObjectVersion;
    prefix.number = object.number;
    prefix.seed = object.seed;
    prefix.hash_low = object.hash.low;
    prefix.hash_high = object.hash.high;
    prefix.epoch = object.epoch;
    prefix.stored_ms = object.stored_ms;
    prefix.body_bytes = object.body_bytes;
    prefix.block_bytes = kDiskBlockBytes;
    prefix.flags = object.is_vary_record ? kVaryRecord : 0;
    prefix.meta_bytes = static_cast<std::uint32_t>(object.meta.size());
    prefix.url_bytes = static_cast<std::uint32_t>(object.url.size());
    prefix.variant_bytes = static_cast<std::uint32_t>(object.variant.size());
    prefix.head_bytes = static_cast<std::uint32_t>(object.head.size());
    prefix.tag_count = static_cast<std::uint32_t>(object.tags.size());
    prefix.header_bytes = static_cast<std::uint32_t>(total_of(prefix));
    return prefix;
}

} // namespace

std::uint64_t disk_blocks_of(std::uint64_t body_bytes) noexcept
{
    return body_bytes / kDiskBlockBytes + (body_bytes % kDiskBlockBytes != 0 ? 1 : 0);
}

std::uint64_t disk_header_bytes(const DiskObject& object) noexcept
{
    return disk_header_bytes(object, object.body_bytes);
}

std::uint64_t disk_header_bytes(const DiskObject& object, std::uint64_t body_bytes) noexcept
{
    const bool is_sane = fits(object.meta) && fits(object.url) && fits(object.variant) && fits(object.head) &&
                         object.tags.size() <= kMostDiskHeaderBytes / 8;
    Prefix prefix = prefix_of(object);
    prefix.body_bytes = body_bytes;
    return is_sane ? total_of(prefix) : 0;
}

std::uint64_t hash_disk_block(std::string_view block) noexcept
{
    return XXH3_64bits(block.data(), block.size());
}

std::string make_disk_header(const DiskObject& object, const std::vector<std::uint64_t>& blocks)
{
    const Prefix prefix = prefix_of(object);
    std::string out;
    out.reserve(prefix.header_bytes);
    out.append(reinterpret_cast<const char*>(&prefix), sizeof prefix);
    append_numbers(out, object.tags);
    out.append(object.meta).append(object.url).append(object.variant).append(object.head);
    append_numbers(out, blocks);
    const std::uint64_t hash = XXH3_64bits(out.data(), out.size());
    out.append(reinterpret_cast<const char*>(&hash), sizeof hash);
    return out;
}

std::uint64_t DiskHeader::header_bytes_of(std::string_view prefix_bytes) noexcept
{
    Prefix prefix{};
    if (prefix_bytes.size() < sizeof prefix) {
        return 0;
    }
    std::memcpy(&prefix, prefix_bytes.data(), sizeof prefix);
    if (prefix.magic != kObjectMagic || prefix.version != kObjectVersion || prefix.block_bytes != kDiskBlockBytes) {
        return 0;
    }
    const std::uint64_t total = total_of(prefix);
    return total == prefix.header_bytes ? total : 0;
}

bool DiskHeader::read(std::string bytes)
{
    bytes_ = std::move(bytes);
    object_ = {};
    blocks_.clear();
    const std::uint64_t total = header_bytes_of(bytes_);
    if (total == 0 || total != bytes_.size()) {
        return false;
    }
    std::uint64_t hash = 0;
    std::memcpy(&hash, bytes_.data() + total - sizeof hash, sizeof hash);
    if (hash != XXH3_64bits(bytes_.data(), total - sizeof hash)) {
        return false;
    }
    Prefix prefix{};
    std::memcpy(&prefix, bytes_.data(), sizeof prefix);
    std::string_view rest(bytes_);
    rest.remove_prefix(sizeof prefix);
    object_.number = prefix.number;
    object_.seed = prefix.seed;
    object_.hash = {prefix.hash_low, prefix.hash_high};
    object_.epoch = prefix.epoch;
    object_.stored_ms = prefix.stored_ms;
    object_.body_bytes = prefix.body_bytes;
    object_.is_vary_record = (prefix.flags & kVaryRecord) != 0;
    object_.tags = take_numbers(rest, prefix.tag_count);
    object_.meta = take(rest, prefix.meta_bytes);
    object_.url = take(rest, prefix.url_bytes);
    object_.variant = take(rest, prefix.variant_bytes);
    object_.head = take(rest, prefix.head_bytes);
    blocks_ = take_numbers(rest, disk_blocks_of(prefix.body_bytes));
    return true;
}

bool DiskHeader::is_block_good(std::uint64_t number, std::string_view block) const noexcept
{
    if (number >= blocks_.size()) {
        return false;
    }
    const std::uint64_t left = object_.body_bytes - number * kDiskBlockBytes;
    return block.size() == std::min<std::uint64_t>(left, kDiskBlockBytes) && hash_disk_block(block) == blocks_[number];
}

} // namespace ladle::shm
