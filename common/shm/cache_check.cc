// SPDX-License-Identifier: Apache-2.0
//
// CacheStore::check(): walks a stripe from every side and compares what they say. It is asked when something seems to be wrong, so
// it believes nothing that it reads: the sizes and places of all parts follow from the arena's own size, an index is compared with them
// before it is used, and a walk ends after as many steps as there are entries or cells. Whatever the bytes are, it ends and says so.
#include "common/base/append.h"
#include "common/shm/cache_store.h"
#include "common/shm/cache_stripe.h"
#include "common/shm/cache_uses.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace ladle::shm {

namespace {

constexpr std::size_t kMostLines = 100;            ///< of a stripe
constexpr std::chrono::milliseconds kPatience{300}; ///< for all locks together: who holds one longer is dead or stopped

class StripeCheck {
public:
    /// Precondition: is_laid_out(), and the lock is held.
    StripeCheck(const CacheStore& store, CacheStripe& stripe, std::uint32_t number, const std::atomic<std::uint64_t>& next_file,
                std::string& out)
        : store_(store), parts_(stripe), s_(stripe), number_(number), next_file_(next_file), out_(out),
          touched_(std::min(get(stripe.entries_touched), stripe.entry_count)), in_bucket_(touched_), in_list_(touched_),
          cell_used_(stripe.cell_count)
    {
    }

    CacheCheckSums run()
    {
        const std::uint32_t touched = get(s_.entries_touched);
        expect(touched != 0 && touched <= s_.entry_count, "{} entries of {} are said to have been used", touched, s_.entry_count);
        check_buckets();
        check_queue();
        const std::uint32_t last_zombie = check_list("zombie", get(s_.zombie_head), CacheList::zombie, get(s_.zombies));
        expect(last_zombie == get(s_.zombie_tail), "the list of zombies ends with {}, not with {}", last_zombie, get(s_.zombie_tail));
        const std::uint32_t last_dead = check_list("dead file", get(s_.dead_file_head), CacheList::dead_file, get(s_.dead_files));
        expect(last_dead == get(s_.dead_file_tail), "the list of dead files ends with {}, not with {}", last_dead, get(s_.dead_file_tail));
        check_list("free entries", get(s_.unused_head), CacheList::unused, touched_);
        for (std::uint32_t index = 1; index < touched_; ++index) {
            check_entry(index);
        }
        expect(pages_ == get(s_.file_pages), "{} file pages charged, entries have {}", get(s_.file_pages), pages_);
        expect(dead_pages_ == get(s_.dead_file_pages), "{} dead file pages, entries have {}", get(s_.dead_file_pages), dead_pages_);
        return {check_cells(), objects_};
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
            append(out_, "stripe {}: ", number_);
            append_formatted(out_, text, fmt::make_format_args(values...));
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
                expect(number == get(entry.bucket), "entry {} is in bucket {}, says {}", index, number, get(entry.bucket));
                expect(entry.is_linked(), "bucket {} names entry {} that is not linked", number, index);
                in_bucket_[index] += in_bucket_[index] < kMany;
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
            expect(entry.is_linked(), "entry {} is in the queue and says it is not",
                   index);
            has_hand = has_hand || get(s_.hand) == index;
            in_list_[index] += in_list_[index] < kMany;
            before = index;
        }
        objects_ = count;
        expect(before == get(s_.oldest), "the queue ends with {}, not with {}", before, get(s_.oldest));
        expect(has_hand, "the hand is at entry {} outside the queue", get(s_.hand));
        expect(count == get(s_.objects), "{} objects counted, {} in the queue", get(s_.objects), count);
    }

    /// Returns the last entry of it.
    std::uint32_t check_list(const char* name, std::uint32_t head, CacheList kind, std::uint32_t announced)
    {
        std::uint32_t count = 0;
        std::uint32_t before = 0;
        for (std::uint32_t index = head; index != 0; index = get(parts_.entry(index).next)) {
            if (index >= touched_ || ++count > touched_) {
                expect(false, "the list of {} is broken at entry {}", name, index);
                return before;
            }
            const CacheEntry& entry = parts_.entry(index);
            expect(entry.list() == kind, "entry {} is on the list of {} and says it is not", index, name);
            in_list_[index] += in_list_[index] < kMany;
            before = index;
        }
        expect(kind == CacheList::unused || count == announced, "{} on the list of {}, {} counted", count, name, announced);
        return before;
    }

    void check_entry(std::uint32_t index)
    {
        const CacheEntry& entry = parts_.entry(index);
        const CacheList list = entry.list();
        const std::uint32_t linked = entry.is_linked() ? 1 : 0;
        expect(in_bucket_[index] == linked, "entry {} is in {} buckets, linked {}", index, in_bucket_[index], linked);
        expect(in_list_[index] == (list == CacheList::none ? 0 : 1), "entry {} is on {} lists", index, in_list_[index]);
        expect((get(entry.state) == CacheState::free) == (list == CacheList::unused),
               "entry {} is free or on the free list, not both", index);
        expect(get(entry.state) <= CacheState::aborted && list <= CacheList::dead_file, "entry {} is in no state that there is", index);
        expect(entry.flags() <= (kCacheVaryRecord | kCacheElsewhere) && (entry.flags() & kCacheElsewhere) != kCacheElsewhere,
               "entry {} is of no kind that there is", index);
        expect(get(entry.owner) < kMaxProcesses, "entry {} has an owner that there cannot be", index);
        if (list == CacheList::dead_file) {
            dead_pages_ += get(entry.prev);
            check_file(index, get(entry.first_cell) | std::uint64_t{get(entry.bucket)} << 32, get(entry.prev));
        } else {
            check_record(index, entry);
        }
    }

    void check_file(std::uint32_t index, std::uint64_t number, std::uint32_t pages)
    {
        expect(number < next_file_.load(std::memory_order_acquire), "entry {} has file {}, which was not given yet", index, number);
        expect(pages == 0 || number != 0, "entry {} is charged for a file it has not", index);
        pages_ += pages;
    }

    void check_record(std::uint32_t index, const CacheEntry& entry)
    {
        std::uint64_t cells = 0;
        std::uint32_t pieces = 0;
        for (std::uint32_t first = get(entry.first_cell); first != kNoCell;) {
            const std::uint32_t count = first < s_.cell_count ? get(parts_.piece(first).cells) : 0;
            if (count == 0 || count > s_.cell_count - first || ++pieces > kMaxPieces) {
                return expect(false, "entry {} has a broken piece at cell {}", index, first);
            }
            for (std::uint32_t cell = first; cell < first + count; ++cell) {
                if (cell_used_[cell]) { // the pieces may go round in a circle
                    return expect(false, "cell {} is used twice, once by entry {}", cell, index);
                }
                cell_used_[cell] = true;
            }
            cells += count;
            first = get(parts_.piece(first).next);
        }
        expect(cells == 0 || entry.list() != CacheList::unused, "entry {} is free and has {} cells", index, cells);
        expect(!entry.is_linked() || cells != 0, "entry {} is linked and has no record", index);
        if (cells == 0) {
            return;
        }
        const std::uint32_t first_bytes = get(parts_.record(entry)->piece.cells) * kCellBytes;
        if (first_bytes < sizeof(RecordHeader)) {
            return expect(false, "entry {} has no room for a record", index);
        }
        if (has_file(entry)) {
            if (first_bytes < sizeof(RecordHeader) + sizeof(RecordFile) || pieces != 1) {
                return expect(false, "entry {} has a file and no room to say so", index);
            }
            const RecordFile& file = parts_.file(entry);
            const bool is_own = (entry.flags() & kCacheInFile) != 0; // else the number is one of the disk tier
            check_file(index, is_own ? get(file.number) : 0, get(file.pages));
        }
        if (entry.is_linked()) {
            check_front(index, entry, cells * kCellBytes - (pieces - 1) * sizeof(CachePiece), first_bytes);
        }
    }

    /// The record of an object in the index, which has `room` bytes, `first_bytes` of them in its first piece.
    void check_front(std::uint32_t index, const CacheEntry& entry, std::uint64_t room, std::uint32_t first_bytes)
    {
        const RecordHeader& record = *parts_.record(entry);
        expect((record.has_file != 0) == has_file(entry), "entry {} has a file or its record has, not both", index);
        const std::uint64_t front = record_front_bytes(record);
        if (front > first_bytes) {
            return expect(false, "entry {} has a front that is larger than its piece", index);
        }
        // In this order: the process that fills it does not hold the lock.
        const CacheState state = entry.state.load(std::memory_order_acquire);
        const std::uint64_t filled = record_filled(record, std::memory_order_acquire);
        const std::uint64_t body = record_body_bytes(record, std::memory_order_acquire);
        expect(record.has_file != 0 || filled <= room - front, "entry {} has more body than room", index);
        expect(state == CacheState::complete ? filled == body : filled <= body, "entry {} has {} of {} bytes of body", index, filled,
               body);
        const std::string_view url(record_text(record), record.url_bytes);
        const std::string_view variant(url.data() + url.size(), record.variant_bytes);
        CacheHash by_hash;
        std::memcpy(&by_hash, url.data(), std::min(url.size(), sizeof by_hash));
        expect(is_at_home(entry, store_.name(url, variant).hash) || (url.size() == sizeof by_hash && is_at_home(entry, by_hash)),
               "entry {} has another's key", index);
    }

    bool is_at_home(const CacheEntry& entry, const CacheHash& hash) const noexcept
    {
        const std::uint32_t bucket = get(entry.bucket);
        return bucket == parts_.first_bucket(hash.low) || bucket == parts_.second_bucket(hash.low);
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
        return used + free > s_.cell_count ? 0 : (s_.cell_count - used - free) * kCellBytes;
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

    static constexpr std::uint8_t kMany = 200; ///< a count stops there

    const CacheStore& store_;
    StripeParts parts_;
    CacheStripe& s_;
    std::uint32_t number_;
    const std::atomic<std::uint64_t>& next_file_;
    std::string& out_;
    std::uint32_t touched_;
    std::vector<std::uint8_t> in_bucket_;
    std::vector<std::uint8_t> in_list_;
    std::vector<bool> cell_used_;
    std::uint32_t objects_ = 0;
    std::uint64_t pages_ = 0;
    std::uint64_t dead_pages_ = 0;
    std::size_t lines_ = 0;
};

} // namespace

std::string CacheStore::check(CacheCheckSums* sums)
{
    CacheCheckSums all;
    std::string broken = arena_.is_whole() ? "" : "the cache's header is damaged: nothing else was looked at\n";
    const std::uint32_t stripes = broken.empty() ? arena_.header().stripe_count : 0;
    const auto give_up = std::chrono::steady_clock::now() + kPatience;
    for (std::uint32_t i = 0; i < stripes; ++i) {
        CacheStripe& stripe = arena_.stripe(i);
        if (!is_laid_out(stripe, arena_.header().stripe_bytes)) {
            broken += fmt::format("stripe {}: its header is damaged: nothing else of it was looked at\n", i);
            continue;
        }
        const auto left = std::chrono::duration_cast<std::chrono::microseconds>(give_up - std::chrono::steady_clock::now());
        CacheLock lock(stripe.lock, row_, std::max(left, std::chrono::microseconds(0)));
        ++locks_taken_;
        if (!lock) {
            broken += fmt::format("stripe {}: locked by row {}\n", i, (stripe.lock.load() & ~kLockWaiters) - 1);
            continue;
        }
        const CacheCheckSums of_stripe = StripeCheck(*this, stripe, i, arena_.header().next_file, broken).run();
        all.leaked_bytes += of_stripe.leaked_bytes;
        all.objects += of_stripe.objects;
    }
    if (sums != nullptr) {
        *sums = all;
    }
    return broken;
}

} // namespace ladle::shm
