// SPDX-License-Identifier: Apache-2.0
//
// The object store of the cache: what a process does with the shared arena (cache_layout.h). One CacheStore per process, made with
// that process's row; single-threaded: one thread of a process uses it. The master has one as well, for repair, purge and listing.
//
// Reading takes no lock: find() reads a bucket under its seqlock, sets this row's pin bit in the entry and looks again; a CacheView
// holds the pin (uses of one process are counted in private memory, so the bit changes only at 0 ↔ 1), and while any bit is set the
// bytes stay. Storing takes the stripe's lock for microseconds; a worker never waits more than about 2 ms for it: then the
// object is not stored. Objects are removed at once from the index; their bytes are freed when no bit is set (by later writers, or
// sweep()).
//
// The life of an object:  begin() → CacheFill, invisible → publish(): visible in state filling, replaces the older one → write()…
//   → complete();  or abort(), also by the CacheFill's destructor: out of the index; whoever reads it sees state aborted.
// Inline bodies lie in the arena's pieces; `in_file` ones in a file that the caller names by file() in the cache's folder. Every
// byte of a file is charged to the stripe: begin() and grow() reserve before the caller writes. An object over a quarter of the
// stripe's budget is refused. Files of objects that are gone come out of next_dead_file(): unlink, then confirm(); only then the
// charge ends. A stub (`disk_file`) has everything but a body, which lies in the disk tier: it is charged for its cells alone, and
// its going leaves the file alone.
#pragma once

#include "common/shm/cache_arena.h"
#include "common/shm/cache_fills.h"
#include "common/shm/cache_purge.h"

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::shm {

class CacheStore;
class CacheUses;

/// What an object is called. Borrowed texts. `url` is the primary key, as the caller normalised it (at most 65 535 bytes);
/// `variant` tells the forms of one URL apart ("" for one that does not vary, and for the vary record). Two-step lookup is the
/// caller's: first {url, ""}; if that is a vary record, its meta says what goes into `variant`.
struct CacheName {
    std::string_view url;
    std::string_view variant;
    CacheHash hash; ///< of both; also the key in FillTable::claim()
};

/// An object to be stored. All borrowed; copied by begin().
struct CacheObject {
    CacheName name;
    std::span<const std::byte> meta;         ///< opaque, 8-aligned for the reader, at most 65 535 bytes
    std::string_view head;                   ///< opaque, one piece for the reader; below 1 MiB
    std::span<const std::uint64_t> tags;     ///< PurgeTable::tag_subject(), at most 2 047
    std::uint64_t epoch = 0;                 ///< PurgeTable::epoch(), read before the request was sent
    std::uint64_t body_bytes = kBodyUnknown; ///< of an inline body or the file; unknown: grow() as it comes
    bool in_file = false;
    bool vary_record = false;
    std::uint64_t disk_file = 0;             ///< not 0: a stub, whose body of known length is this file of the disk tier
};

/// A place in the arena: stripe and entry. With the generation it names one object for ever.
struct CacheRef {
    std::uint32_t stripe = 0;
    std::uint32_t entry = 0; ///< 0 = none
    std::uint32_t generation = 0;
    bool operator==(const CacheRef&) const = default;
};

/// A pinned object: everything it returns stays valid while the view lives, whatever happens to the object. Move-only. Must not
/// outlive the store.
class CacheView {
public:
    CacheView() = default;
    CacheView(CacheView&& other) noexcept;
    CacheView& operator=(CacheView&& other) noexcept;
    ~CacheView();

    explicit operator bool() const noexcept { return store_ != nullptr; }
    /// The same object, pinned once more.
    CacheView copy() const noexcept;

    std::string_view url() const noexcept;
    std::string_view variant() const noexcept;
    std::span<const std::byte> meta() const noexcept;
    std::string_view head() const noexcept;
    std::span<const std::uint64_t> tags() const noexcept;
    std::uint64_t epoch() const noexcept { return record_->epoch; }

    /// filling → complete or aborted, may change under the reader: after `aborted` no more bytes come.
    CacheState state() const noexcept { return entry_->state.load(std::memory_order_acquire); }
    bool is_vary_record() const noexcept { return (entry_->flags() & kCacheVaryRecord) != 0; }
    bool is_in_file() const noexcept { return (entry_->flags() & kCacheInFile) != 0; }
    /// A stub: file() is a number in the disk tier, and body() has nothing.
    bool is_on_disk() const noexcept { return (entry_->flags() & kCacheOnDisk) != 0; }
    /// The body's length, kBodyUnknown while it arrives without one.
    std::uint64_t body_bytes() const noexcept;
    /// How much of it may be read now. Ask state() first, then this: at `complete` it is all.
    std::uint64_t filled() const noexcept;
    /// Inline: the bytes from `offset` to `end` (at most filled()) as at most `capacity` iovecs of arena memory; returns how many.
    /// Fewer bytes than asked only when the capacity is too small (kMaxPieces is always enough).
    std::size_t body(std::uint64_t offset, std::uint64_t end, iovec* out, std::size_t capacity) const noexcept;
    /// In a file: its number; open it at once after find(), for a replaced object's file may move or go. Not to be found = a miss.
    std::uint64_t file() const noexcept;

    /// Uses counted so far (approximate).
    std::uint32_t hits() const noexcept { return record_->hits.load(std::memory_order_relaxed); }
    /// Views of it in this process.
    std::uint32_t uses_here() const noexcept;
    /// Bytes of the budget that it occupies: cells and file pages.
    std::uint64_t stored_bytes() const noexcept;
    CacheRef ref() const noexcept { return ref_; }
    /// Still in the index (not evicted, replaced, purged or aborted since).
    bool is_linked() const noexcept;

private:
    friend class CacheStore;
    friend class CacheFill;
    friend class CacheWalk;
    CacheView(CacheStore& store, CacheEntry& entry, CacheRef ref) noexcept; ///< adopts a pin already taken

    CacheStore* store_ = nullptr;
    CacheEntry* entry_ = nullptr;
    RecordHeader* record_ = nullptr;
    CacheRef ref_;
};

/// An object being stored by this process. Move-only; destroyed before complete() it aborts. Must not outlive the store.
class CacheFill {
public:
    CacheFill() = default;
    CacheFill(CacheFill&&) noexcept = default;
    CacheFill& operator=(CacheFill&& other) noexcept;
    ~CacheFill();

    explicit operator bool() const noexcept { return static_cast<bool>(view_); }
    /// Makes it visible, in place of an older object of the same key. False when the lock could not be had: try again or give up.
    [[nodiscard]] bool publish() noexcept;
    /// Inline: copies bytes of the body to its end and lets readers see them. False when there is no room (length unknown and
    /// grow() refused; or more than announced): abort() then.
    [[nodiscard]] bool write(std::span<const std::byte> bytes) noexcept;
    /// In a file: `bytes` more have been written to the file; readers may read them.
    void advance(std::uint64_t bytes) noexcept;
    /// Unknown length: makes sure that `total` bytes of body are reserved, before they are written. write() does it by itself.
    [[nodiscard]] std::expected<void, CacheRefusal> grow(std::uint64_t total) noexcept;
    /// The last byte is in: body_bytes becomes filled(). False (and it aborts) when an announced length was not reached. Readers
    /// see state complete. Then this is empty. An object not published yet is published first; false when that fails.
    [[nodiscard]] bool complete() noexcept;
    /// Takes it out of the index; readers see `aborted`. Then this is empty.
    void abort() noexcept;

    /// File number for the body (in_file), unique for ever within this arena.
    std::uint64_t file() const noexcept { return view_.file(); }
    /// The object as a reader sees it; copy() it to read on after complete().
    const CacheView& view() const noexcept { return view_; }
    /// Rows of other processes that hold the object: whom to wake when bytes came, or it ended.
    std::uint64_t rows_reading() const noexcept;

private:
    friend class CacheStore;
    void give_back_rest() noexcept;

    CacheView view_;
    CacheHash hash_;
    std::uint64_t room_ = 0;         ///< bytes of body reserved
    CachePiece* last_ = nullptr; ///< where the next byte of an inline body goes: this piece,
    std::uint32_t last_cells_ = 0;
    std::uint32_t last_used_ = 0; ///< at this byte of it
    bool published_ = false;
};

struct CacheFound {
    CacheView view;           ///< empty = a miss
    bool soft_purged = false; ///< found, but stale by a soft purge
};

/// A file to be unlinked, then confirmed.
struct CacheDeadFile {
    std::uint64_t number = 0;
    CacheRef ref;
};

/// Sums over stripes, for status and metrics. A moment's reading.
struct CacheCounts {
    std::uint64_t objects = 0;
    std::uint64_t cell_bytes = 0; ///< used by records, zombies too
    std::uint64_t cell_bytes_total = 0;
    std::uint64_t file_bytes = 0;  ///< charged for files, dead ones too
    std::uint64_t table_bytes = 0; ///< the arena's fixed part: tables, journals, index
    std::uint64_t zombies = 0;
    std::uint64_t dead_files = 0;
    std::uint64_t stored = 0;
    std::uint64_t replaced = 0;
    std::uint64_t evictions = 0;
    std::uint64_t refusals[kCacheRefusals] = {}; ///< by CacheRefusal
};

/// What check() counted by itself, without believing what the arena says of it.
struct CacheCheckSums {
    std::uint64_t leaked_bytes = 0; ///< of cells that nobody owns
    std::uint64_t objects = 0;      ///< in the queues
};

class CacheStore {
public:
    /// `row`: this process's row, whose last owner has been repaired. The arena must outlive the store.
    CacheStore(CacheArena& arena, std::uint32_t row);
    CacheStore(const CacheStore&) = delete;
    CacheStore& operator=(const CacheStore&) = delete;
    ~CacheStore();

    /// Names an object; hashes both texts with the arena's seed.
    CacheName name(std::string_view url, std::string_view variant = {}) const noexcept;
    /// A name by its hash alone (disk tier's index: the key text stands in the file's header, where the caller compares it).
    /// `bytes` (16, borrowed) must live as long as the name: they become its url.
    static CacheName name_by_hash(const CacheHash& hash, std::span<char, 16> bytes) noexcept;

    /// Looks up, compares the whole key, pins, checks purges. Lock-free, bounded. Counts a hit. Aborted and hard-purged objects are
    /// misses. `purge_url` replaces name.url for the purge check (disk index); empty = name.url.
    CacheFound find(const CacheName& name, std::string_view purge_url = {}) noexcept;
    /// Asks for the memory that find() will look at first. Worth it when some other work lies between: at 1 M objects a lookup
    /// waits for memory most of its time.
    void prefetch(const CacheHash& hash) const noexcept;
    /// The same without counting, marking or checking purges (listing, HEAD updating, deciding). Empty = none.
    CacheView peek(const CacheName& name) noexcept;

    /// Reserves memory for an object, evicting others if need be; copies everything but the body. The refusal waiting_for_files
    /// means: unlink and confirm what next_dead_file() gives, then try again.
    std::expected<CacheFill, CacheRefusal> begin(const CacheObject& object) noexcept;
    /// Bytes that a body may have in the stripe of this name, at the most.
    std::uint64_t largest_body(const CacheHash& hash, bool in_file) const noexcept;
    /// Stores a whole object, body at hand (inline): begin, publish, write, complete.
    std::expected<CacheView, CacheRefusal> store(const CacheObject& object, std::string_view body) noexcept;
    /// The same body under a new head, meta and epoch, in place of `old` (304 freshening, HEAD updating): a file moves over to the
    /// new entry, an inline body is copied, a stub stays one. Refused (bad_request) unless `old` is complete and still linked.
    /// `object.name` must be the name of `old`; its body_bytes and in_file are ignored.
    std::expected<CacheView, CacheRefusal> freshen(const CacheView& old, const CacheObject& object) noexcept;
    /// Takes up an object whose body is in file `number` already (in_file, with its length): a disk tier's snapshot or rescan.
    /// Later numbers are larger than it. Nothing is evicted for it: no_space when the budget is used up.
    std::expected<void, CacheRefusal> adopt_file(const CacheObject& object, std::uint64_t number) noexcept;
    /// Takes an object out of the index. False when the lock could not be had. True also when it was no longer there.
    [[nodiscard]] bool remove(const CacheRef& ref) noexcept;

    /// A file whose object is gone and that nobody reads, or none. The same one may be given to several processes: unlinking twice
    /// is harmless.
    std::optional<CacheDeadFile> next_dead_file() noexcept;
    /// The file is unlinked (ENOENT counts): its charge ends. False when the lock could not be had: call again. Idempotent.
    [[nodiscard]] bool confirm(const CacheDeadFile& file) noexcept;

    /// Caretaker: frees unpinned zombies and what cut-off writers left, and gives pages of large free runs back to the kernel while
    /// files are charged. Works through about `entries` entries per call, going round; returns the entries freed.
    std::uint32_t sweep(std::uint32_t entries = 65536) noexcept;

    /// Master, after reaping the process of `row` and before the row is used again: undoes what it was doing, in every table;
    /// aborts its fills, clears its pins. Returns the rows to wake (waiters for its claims and readers of its fills). Idempotent.
    std::uint64_t repair(std::uint32_t row) noexcept;

    /// Walks everything and says what is broken, one line each, "" = nothing. Takes each stripe's lock for its time (up to some 100
    /// ms for a large one; stores are refused meanwhile). Ends whatever the arena's bytes are; every other function here relies on
    /// them, but for counts() and repair() where they are the header's.
    std::string check(CacheCheckSums* sums = nullptr);

    CacheCounts counts() const noexcept;
    /// Times this process took or tried to take any lock: a hit takes none.
    std::uint64_t locks_taken() const noexcept { return locks_taken_; }

    PurgeTable& purges() noexcept { return purges_; }
    FillTable& fills() noexcept { return fills_; }
    CacheArena& arena() noexcept { return arena_; }

private:
    friend class CacheView;
    friend class CacheFill;
    friend class CacheWalk;

    CacheView find_pinned(const CacheName& name) noexcept;
    CacheView pin_linked(std::uint32_t stripe, std::uint32_t index) noexcept;
    void pin(CacheEntry& entry) noexcept;
    void unpin(CacheEntry& entry) noexcept;
    std::expected<CacheFill, CacheRefusal> begin_with(const CacheObject& object, std::uint64_t file,
                                                      std::uint8_t more_flags) noexcept;
    std::optional<CacheRefusal> link(CacheFill& fill, CacheState state, const CacheView* file_from) noexcept;
    void sweep_entry(std::uint32_t stripe, std::uint32_t index) noexcept;
    std::uint64_t repair_stripe(CacheStripe& stripe, std::uint32_t dead_row) noexcept;
    CacheRefusal refuse(std::uint32_t stripe, CacheRefusal why) noexcept;

    CacheArena& arena_;
    std::uint32_t row_;
    std::unique_ptr<CacheUses> uses_;
    PurgeTable purges_;
    FillTable fills_;
    std::uint64_t locks_taken_ = 0;
    std::uint32_t sweep_stripe_ = 0;
    std::uint32_t sweep_entry_ = 1;
};

/// Goes through all objects in the index, one pinned at a time: `ladle cache`. Objects that come or go meanwhile may or may not be
/// seen.
class CacheWalk {
public:
    explicit CacheWalk(CacheStore& store) noexcept : store_(store) {}
    /// The next one; nullptr at the end. Valid until the next call.
    const CacheView* next() noexcept;

private:
    CacheStore& store_;
    CacheView view_;
    std::uint32_t stripe_ = 0;
    std::uint32_t entry_ = 1;
};

} // namespace ladle::shm
