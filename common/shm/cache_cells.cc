// SPDX-License-Identifier: Apache-2.0
#include "common/shm/cache_stripe.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

namespace ladle::shm {

namespace {

constexpr double kBucketFill = 1.0 / 7.5; ///< buckets per entry
constexpr std::uint32_t kLargestRun = 1u << (kCellOrders - 1);

/// Words of a tree of `bits` bits, all levels.
std::uint64_t tree_words(std::uint64_t bits) noexcept
{
    std::uint64_t words = 0;
    do {
        bits = round_up(bits, 64) / 64;
        words += bits;
    } while (bits > 1);
    return words;
}

std::uint64_t trees_bytes(std::uint64_t cells) noexcept
{
    std::uint64_t words = 0;
    for (std::uint32_t order = 0; order < kCellOrders; ++order) {
        words += tree_words(std::max<std::uint64_t>(cells >> order, 1));
    }
    return words * 8;
}

void lay_out_tree(CacheBitTree& tree, std::uint64_t bits, std::uint64_t& offset) noexcept
{
    tree.bits = static_cast<std::uint32_t>(bits);
    tree.levels = 0;
    do {
        bits = round_up(bits, 64) / 64;
        tree.level_offset[tree.levels++] = offset;
        offset += bits * 8;
    } while (bits > 1);
}

/// Sizes and places of the parts of a stripe of `bytes`. `file_budget_pages`: 0 = files are charged to the cells' budget.
void measure(CacheStripe& stripe, std::uint64_t bytes, std::uint64_t file_budget_pages) noexcept
{
    std::uint64_t offset = round_up(sizeof(CacheStripe), kPage);
    stripe.entry_count = static_cast<std::uint32_t>(bytes / (file_budget_pages != 0 ? kBytesPerFileEntry : kBytesPerEntry));
    stripe.bucket_count =
        static_cast<std::uint32_t>(stripe.entry_count * kBucketFill + 1); // two choices of 10 slots: both full is one in millions
    stripe.buckets_offset = offset;
    offset += std::uint64_t{stripe.bucket_count} * sizeof(CacheBucket);
    stripe.entries_offset = offset;
    offset += std::uint64_t{stripe.entry_count} * sizeof(CacheEntry);
    const std::uint64_t rest = bytes - offset;
    std::uint64_t cells = rest / kCellBytes;
    while (cells * kCellBytes + trees_bytes(cells) + kPage > rest) {
        cells -= std::max<std::uint64_t>((cells * kCellBytes + trees_bytes(cells) + kPage - rest) / kCellBytes, 1);
    }
    stripe.cell_count = static_cast<std::uint32_t>(cells);
    for (std::uint32_t order = 0; order < kCellOrders; ++order) {
        lay_out_tree(stripe.free_blocks[order], std::max<std::uint64_t>(cells >> order, 1), offset);
    }
    stripe.cells_offset = round_up(offset, kPage);
    stripe.file_budget_pages = file_budget_pages;
}

/// The lowest bit that is set; the tree's number of bits when none is.
std::uint32_t first_bit(const StripeParts& parts, const CacheBitTree& tree) noexcept
{
    std::uint32_t at = 0;
    for (std::uint32_t level = tree.levels; level > 0; --level) {
        const std::uint64_t word = parts.word(tree, level - 1, at).load(std::memory_order_relaxed);
        if (word == 0) {
            return tree.bits;
        }
        at = at * 64 + static_cast<std::uint32_t>(std::countr_zero(word));
    }
    return at;
}

/// The order of the free block that begins at a cell; kCellOrders where none does.
std::uint32_t free_order_at(const StripeParts& parts, std::uint32_t cell) noexcept
{
    const auto aligned = static_cast<std::uint32_t>(std::countr_zero(cell | kLargestRun));
    for (std::uint32_t order = 0; order <= aligned; ++order) {
        if (parts.is_free_block(order, cell >> order)) {
            return order;
        }
    }
    return kCellOrders;
}

/// How many free cells follow each other from the begin of a free block on, at most `most`.
std::uint32_t free_cells_from(const StripeParts& parts, std::uint32_t first, std::uint32_t most) noexcept
{
    std::uint32_t count = 0;
    while (count < most) {
        const std::uint32_t order = free_order_at(parts, first + count);
        if (order == kCellOrders) {
            return count;
        }
        count += 1u << order;
    }
    return most;
}

} // namespace

void lay_out_stripe(CacheArena& arena, CacheStripe& stripe, std::uint64_t bytes, std::uint64_t file_budget_bytes) noexcept
{
    measure(stripe, bytes, file_budget_bytes / kFilePageBytes);
    stripe.entries_touched.store(1, std::memory_order_relaxed);
    StripeWriter(arena, stripe, 0).free_all_cells();
}

bool is_laid_out(const CacheStripe& stripe, std::uint64_t bytes) noexcept
{
    CacheStripe right{};
    measure(right, bytes, stripe.file_budget_pages);
    return stripe.bucket_count == right.bucket_count && stripe.entry_count == right.entry_count &&
           stripe.cell_count == right.cell_count && stripe.buckets_offset == right.buckets_offset &&
           stripe.entries_offset == right.entries_offset && stripe.cells_offset == right.cells_offset &&
           std::memcmp(stripe.free_blocks, right.free_blocks, sizeof right.free_blocks) == 0;
}

void StripeWriter::free_all_cells() noexcept
{
    for (std::uint32_t first = 0; first < s_.cell_count; first += kLargestRun) {
        put_run({first, std::min(kLargestRun, s_.cell_count - first)});
        journal_.commit();
    }
}

void StripeWriter::set_bit(const CacheBitTree& tree, std::uint32_t bit) noexcept
{
    for (std::uint32_t level = 0; level < tree.levels; ++level) {
        auto& word = parts_.word(tree, level, bit / 64);
        const std::uint64_t old = word.load(std::memory_order_relaxed);
        journal_.set(word, old | std::uint64_t{1} << (bit % 64));
        if (old != 0) {
            return;
        }
        bit /= 64;
    }
}

void StripeWriter::clear_bit(const CacheBitTree& tree, std::uint32_t bit) noexcept
{
    for (std::uint32_t level = 0; level < tree.levels; ++level) {
        auto& word = parts_.word(tree, level, bit / 64);
        const std::uint64_t rest = word.load(std::memory_order_relaxed) & ~(std::uint64_t{1} << (bit % 64));
        journal_.set(word, rest);
        if (rest != 0) {
            return;
        }
        bit /= 64;
    }
}

CellRun StripeWriter::take_run(std::uint32_t want, std::uint32_t least) noexcept
{
    want = std::min(want, kLargestRun);
    // The smallest free block from which so many free cells follow each other: what was left beside the last object, mostly, so that
    // objects stored in turn lie side by side. Else the longest run among those looked at.
    CellRun best;
    for (std::uint32_t order = 0; order < kCellOrders && best.count < want; ++order) {
        const CacheBitTree& tree = s_.free_blocks[order];
        if (const std::uint32_t block = first_bit(parts_, tree); block < tree.bits) {
            const CellRun run{block << order, free_cells_from(parts_, block << order, want)};
            best = run.count > best.count ? run : best;
        }
    }
    if (best.count < least) {
        return {};
    }
    take_cells(best);
    return best;
}

void StripeWriter::take_cells(CellRun run) noexcept
{
    const std::uint32_t end = run.first + run.count;
    for (std::uint32_t cell = run.first; cell < end;) {
        const std::uint32_t order = free_order_at(parts_, cell);
        clear_bit(s_.free_blocks[order], cell >> order);
        journal_.subtract(s_.free_cells, 1u << order);
        cell += 1u << order;
        if (cell > end) {
            put_run({end, cell - end});
        }
    }
}

void StripeWriter::put_run(CellRun run) noexcept
{
    if (run.count == 0) {
        return;
    }
    journal_.add(s_.free_cells, run.count);
    while (run.count > 0) {
        const auto aligned = static_cast<std::uint32_t>(std::countr_zero(run.first | kLargestRun));
        const auto fits = static_cast<std::uint32_t>(std::bit_width(run.count) - 1);
        const std::uint32_t order = std::min(aligned, fits);
        put_block(run.first, order);
        run.first += 1u << order;
        run.count -= 1u << order;
    }
}

void StripeWriter::put_block(std::uint32_t first, std::uint32_t order) noexcept
{
    while (order + 1 < kCellOrders) {
        const std::uint32_t buddy = (first >> order) ^ 1;
        if (!parts_.is_free_block(order, buddy)) {
            break;
        }
        clear_bit(s_.free_blocks[order], buddy);
        first &= ~(1u << order);
        ++order;
    }
    set_bit(s_.free_blocks[order], first >> order);
}

bool StripeWriter::has_room(std::uint64_t cells, std::uint64_t file_pages) const noexcept
{
    const std::uint64_t free = s_.free_cells.load(std::memory_order_relaxed);
    const std::uint64_t charged = s_.file_pages.load(std::memory_order_relaxed) + file_pages;
    if (cells > free) {
        return false;
    }
    if (s_.file_budget_pages != 0) {
        return charged <= s_.file_budget_pages;
    }
    return (s_.cell_count - free + cells) * kCellBytes + charged * kFilePageBytes <= std::uint64_t{s_.cell_count} * kCellBytes;
}

CellRun StripeWriter::add_piece(CacheEntry& entry, CachePiece* last, std::uint32_t want, std::uint32_t least) noexcept
{
    if (!has_room(want, 0)) {
        return {};
    }
    const CellRun run = take_run(want, least);
    if (run.count == 0) {
        return run; // nothing was noted
    }
    // Not journalled: until the next store the cells are nobody's.
    CachePiece& piece = parts_.piece(run.first);
    piece.next.store(kNoCell, std::memory_order_relaxed);
    piece.cells.store(static_cast<std::uint16_t>(run.count), std::memory_order_relaxed);
    if (last == nullptr) {
        if (has_file(entry)) {
            RecordFile& file = record_file(reinterpret_cast<RecordHeader&>(piece));
            file.number.store(0, std::memory_order_relaxed);
            file.pages.store(0, std::memory_order_relaxed);
        }
        journal_.set(entry.first_cell, run.first);
    } else {
        journal_.set(last->next, run.first);
    }
    journal_.commit();
    return run;
}

void StripeWriter::trim(CachePiece& piece, std::uint32_t keep) noexcept
{
    // Whole pieces behind it first, each by its own transaction.
    for (std::uint32_t next = piece.next.load(std::memory_order_relaxed); next != kNoCell;) {
        const CachePiece& dropped = parts_.piece(next);
        const CellRun run{next, dropped.cells.load(std::memory_order_relaxed)};
        next = dropped.next.load(std::memory_order_relaxed);
        journal_.set(piece.next, next);
        put_run(run);
        journal_.commit();
    }
    const auto first = static_cast<std::uint32_t>((reinterpret_cast<std::byte*>(&piece) - parts_.cell(0)) / kCellBytes);
    const std::uint32_t count = piece.cells.load(std::memory_order_relaxed);
    if (keep == 0 || keep >= count) {
        return;
    }
    journal_.set(piece.cells, static_cast<std::uint16_t>(keep));
    put_run({first + keep, count - keep});
    journal_.commit();
}

} // namespace ladle::shm
