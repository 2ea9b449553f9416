// SPDX-License-Identifier: Apache-2.0
//
// CacheStore::check(): walks a stripe from every side and compares what they say.
#include "common/shm/cache_store.h"
#include "common/shm/cache_stripe.h"
#include "common/shm/cache_uses.h"

#include <fmt/format.h>

#include <iterator>
#include <vector>

namespace ladle::shm {

namespace {

constexpr std::size_t kMostLines = 100;

class StripeCheck {
public:
    StripeCheck(CacheStripe& stripe, std::uint32_t number, std::string& out)
        : parts_(stripe), s_(stripe), number_(number), out_(out), touched_(get(stripe.entries_touched)), in_bucket_(touched_),
          in_list_(touched_), cell_used_(stripe.cell_count)
    {
    }

    /// Returns bytes of cells that nobody owns.
    std::uint64_t run()
    {
        check_buckets();
        check_queue();
        check_list("zombie", get(s_.zombie_head), CacheList::zombie, get(s_.zombies));
        check_list("dead file", get(s_.dead_file_head), CacheList::dead_file, get(s_.dead_files));
        check_list("free entries", get(s_.unused_head), CacheList::unused, touched_);
        for (std::uint32_t index = 1; index < touched_; ++index) {
            check_entry(index);
        }
        expect(pages_ == get(s_.file_pages), "{} file pages charged, entries have {}", get(s_.file_pages), pages_);
        expect(dead_pages_ == get(s_.dead_file_pages), "{} dead file pages, entries have {}", get(s_.dead_file_pages), dead_pages_);
        return check_cells();
    }

private:
    template <typename T>
    static T get(const std::atomic<T>& at) noexcept
    {
        return at.load(std::memory_order_relaxed);
    }

    template <typename... Values>
    void expect(bool is_right, std::string_view text, const Values&... values)
    {
        if (!is_right && lines_++ < kMostLines) {
            fmt::format_to(std::back_inserter(out_), "stripe {}: ", number_);
            fmt::vformat_to(std::back_inserter(out_), text, fmt::make_format_args(values...));
            out_ += '\n';
        }
    }

    void check_buckets()
    {
        for (std::uint32_t number = 0; number < s_.bucket_count; ++number) {
            const CacheBucket& bucket = parts_.bucket(number);
            expect((get(bucket.seq) & 1) == 0, "bucket {} is being written", number);
            for (const auto& slot : bucket.entries) {
                const std::uint32_t index = get(slot);
                if (index == 0) {
                    continue;
                }
                if (index >= touched_) {
                    expect(false, "bucket {} names entry {} that was never used", number, index);
                    continue;
                }
                const CacheEntry& entry = parts_.entry(index);
                const std::uint64_t fingerprint = get(entry.fingerprint);
                expect(number == parts_.first_bucket(fingerprint) || number == parts_.second_bucket(fingerprint),
                       "entry {} is in bucket {}, where it does not belong", index, number);
                expect(get(entry.linked) == 1, "bucket {} names entry {} that is not linked", number, index);
                ++in_bucket_[index];
            }
        }
    }

    void check_queue()
    {
        std::uint32_t count = 0;
        std::uint32_t before = 0;
        bool has_hand = get(s_.hand) == 0;
        for (std::uint32_t index = get(s_.newest); index != 0; index = get(parts_.entry(index).next)) {
            if (index >= touched_ || ++count > touched_) {
                expect(false, "the queue is broken at entry {}", index);
                return;
            }
            const CacheEntry& entry = parts_.entry(index);
            expect(get(entry.prev) == before, "entry {} has {} before it in the queue, says {}", index, before, get(entry.prev));
            expect(get(entry.list) == CacheList::queue && get(entry.linked) == 1, "entry {} is in the queue and says it is not",
                   index);
            has_hand = has_hand || get(s_.hand) == index;
            ++in_list_[index];
            before = index;
        }
        expect(before == get(s_.oldest), "the queue ends with {}, not with {}", before, get(s_.oldest));
        expect(has_hand, "the hand is at entry {} outside the queue", get(s_.hand));
        expect(count == get(s_.objects), "{} objects counted, {} in the queue", get(s_.objects), count);
    }

    void check_list(const char* name, std::uint32_t head, CacheList kind, std::uint32_t announced)
    {
        std::uint32_t count = 0;
        for (std::uint32_t index = head; index != 0; index = get(parts_.entry(index).next)) {
            if (index >= touched_ || ++count > touched_) {
                expect(false, "the list of {} is broken at entry {}", name, index);
                return;
            }
            expect(get(parts_.entry(index).list) == kind, "entry {} is on the list of {} and says it is not", index, name);
            ++in_list_[index];
        }
        expect(kind == CacheList::unused || count == announced, "{} on the list of {}, {} counted", count, name, announced);
    }

    void check_entry(std::uint32_t index)
    {
        const CacheEntry& entry = parts_.entry(index);
        const CacheList list = get(entry.list);
        const std::uint32_t linked = get(entry.linked);
        expect(in_bucket_[index] == linked, "entry {} is in {} buckets, linked {}", index, in_bucket_[index], linked);
        expect(in_list_[index] == (list == CacheList::none ? 0 : 1), "entry {} is on {} lists", index, in_list_[index]);
        expect((list == CacheList::queue) == (linked == 1), "entry {} is linked or queued, not both", index);
        expect((get(entry.state) == CacheState::free) == (list == CacheList::unused),
               "entry {} is free or on the free list, not both", index);
        pages_ += get(entry.file_pages);
        dead_pages_ += list == CacheList::dead_file ? get(entry.file_pages) : 0;
        expect(get(entry.file_pages) == 0 || get(entry.file) != 0, "entry {} is charged for a file it has not", index);
        check_record(index, entry);
    }

    void check_record(std::uint32_t index, const CacheEntry& entry)
    {
        std::uint64_t link = std::uint64_t{get(entry.first_cells)} << 32 | get(entry.first_cell);
        std::uint32_t cells = 0;
        std::uint32_t pieces = 0;
        while (link >> 32 != 0) {
            const auto first = static_cast<std::uint32_t>(link);
            const auto count = static_cast<std::uint32_t>(link >> 32);
            if (first >= s_.cell_count || count > s_.cell_count - first || ++pieces > kMaxPieces) {
                expect(false, "entry {} has a broken piece at cell {}", index, first);
                return;
            }
            for (std::uint32_t cell = first; cell < first + count; ++cell) {
                expect(!cell_used_[cell], "cell {} is used twice, once by entry {}", cell, index);
                cell_used_[cell] = true;
            }
            cells += count;
            link = get(*reinterpret_cast<const CachePieceLink*>(parts_.cell(first)));
        }
        expect(cells == get(entry.cells), "entry {} has {} cells, says {}", index, cells, get(entry.cells));
        expect(pieces == get(entry.pieces), "entry {} has {} pieces, says {}", index, pieces, get(entry.pieces));
        const CacheList list = get(entry.list);
        expect(cells == 0 || (list != CacheList::unused && list != CacheList::dead_file), "entry {} is free and has {} cells",
               index, cells);
        if (get(entry.linked) == 1 && cells != 0) {
            const RecordHeader& record = *parts_.record(entry);
            const std::uint64_t front = record_front_bytes(record);
            expect(front <= std::uint64_t{get(entry.first_cells)} * kCellBytes,
                   "entry {} has a front that is larger than its piece", index);
            const std::uint64_t room = std::uint64_t{cells} * kCellBytes - front - (pieces - 1) * sizeof(CachePieceLink);
            expect((get(entry.flags) & kCacheInFile) != 0 || get(record.filled) <= room, "entry {} has more body than room", index);
        }
    }

    std::uint64_t check_cells()
    {
        std::uint64_t used = 0;
        for (const bool is_used : cell_used_) {
            used += is_used;
        }
        std::uint64_t free = 0;
        for (std::uint32_t order = 0; order < kCellOrders; ++order) {
            const CacheBitTree& tree = s_.free_blocks[order];
            for (std::uint32_t block = 0; block < tree.bits; ++block) {
                if (parts_.is_free_block(order, block)) {
                    free += 1u << order;
                    check_free_block(order, block);
                }
            }
            check_tree(order);
        }
        expect(free == get(s_.free_cells), "{} free cells, {} counted", free, get(s_.free_cells));
        expect(used + free <= s_.cell_count, "{} cells used and {} free, of {}", used, free, s_.cell_count);
        return (s_.cell_count - used - free) * kCellBytes;
    }

    void check_free_block(std::uint32_t order, std::uint32_t block)
    {
        const std::uint32_t first = block << order;
        for (std::uint32_t cell = first; cell < first + (1u << order); ++cell) {
            expect(cell < s_.cell_count && !cell_used_[cell], "free cell {} is used", cell);
            if (cell < s_.cell_count) {
                cell_used_[cell] = true;
            }
        }
        expect(order + 1 == kCellOrders || !parts_.is_free_block(order, block ^ 1), "two free neighbours of order {} at block {}",
               order, block);
    }

    void check_tree(std::uint32_t order)
    {
        const CacheBitTree& tree = s_.free_blocks[order];
        std::uint32_t words = (tree.bits + 63) / 64;
        for (std::uint32_t level = 0; level + 1 < tree.levels; ++level) {
            for (std::uint32_t word = 0; word < words; ++word) {
                const bool has_any = get(parts_.word(tree, level, word)) != 0;
                const bool says_so = (get(parts_.word(tree, level + 1, word / 64)) >> (word % 64) & 1) != 0;
                expect(has_any == says_so, "the tree of order {} is wrong at level {} word {}", order, level, word);
            }
            words = (words + 63) / 64;
        }
    }

    StripeParts parts_;
    CacheStripe& s_;
    std::uint32_t number_;
    std::string& out_;
    std::uint32_t touched_;
    std::vector<std::uint8_t> in_bucket_;
    std::vector<std::uint8_t> in_list_;
    std::vector<bool> cell_used_;
    std::uint64_t pages_ = 0;
    std::uint64_t dead_pages_ = 0;
    std::size_t lines_ = 0;
};

} // namespace

std::string CacheStore::check(std::uint64_t* leaked_bytes)
{
    std::string broken;
    std::uint64_t leaked = 0;
    for (std::uint32_t i = 0; i < arena_.header().stripe_count; ++i) {
        CacheStripe& stripe = arena_.stripe(i);
        CacheLock lock(stripe.lock, row_, std::chrono::seconds(1));
        ++locks_taken_;
        if (!lock) {
            broken += fmt::format("stripe {}: locked by row {}\n", i, (stripe.lock.load() & ~kLockWaiters) - 1);
            continue;
        }
        leaked += StripeCheck(stripe, i, broken).run();
    }
    if (leaked_bytes != nullptr) {
        *leaked_bytes = leaked;
    }
    return broken;
}

} // namespace ladle::shm
