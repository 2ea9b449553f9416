// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/disk_fetch.h"

#include "common/http/stored_meta.h"
#include "worker/cache/cache.h"
#include "worker/cache/disk_tier.h"
#include "worker/cache/disk_write.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::size_t kWriteStep = 8 * shm::kDiskBlockBytes; ///< bytes of the body that are written in one go
constexpr std::size_t kMostRead = 112 << 10;            ///< from the server at once
constexpr std::chrono::milliseconds kUnlinkPause{50};         ///< while files of dead objects are unlinked
constexpr unsigned kMostPauses = 200;
/// No fetch for a body that had no length and grew past what the tier takes: it may be one without an end, which drives out others.
constexpr loop::Nanos kAfterTooLarge = 600'000'000'000;
constexpr int kFetchVectors = 64;

/// Everything that functions in the pool use, so that it lives as long as they run.
struct Work {
    explicit Work(const DiskTier& disk) : folder(disk.folder()), is_stopping(disk.is_stopping()), writer(folder->get()) {}

    std::shared_ptr<os::Fd> folder;
    std::shared_ptr<std::atomic<bool>> is_stopping;
    shm::DiskFileWriter writer;
    std::string bytes; ///< that are written now
    std::string meta;
    std::string url;
    std::string variant;
    std::string head;
    shm::DiskObject object; ///< its texts are those above
};

std::shared_ptr<Work> describe_work(const CacheVisit& visit, const DiskTier& disk)
{
    auto work = std::make_shared<Work>(disk);
    const http::PackedMeta meta = visit.meta.pack();
    work->meta.assign(reinterpret_cast<const char*>(meta.bytes().data()), meta.bytes().size());
    work->url = visit.key;
    work->variant = visit.variant;
    work->head = visit.large->head;
    shm::DiskObject& object = work->object;
    object.seed = visit.cache.store().arena().seed();
    object.hash = visit.name.hash;
    object.epoch = visit.epoch;
    object.stored_ms = wall_clock_ms();
    object.body_bytes = visit.large->body_bytes;
    object.meta = work->meta;
    object.url = work->url;
    object.variant = work->variant;
    object.head = work->head;
    object.tags = visit.large->tags;
    return work;
}

class DiskFetch {
public:
    DiskFetch(Request& request, Turn& turn)
        : request_(request), turn_(turn), visit_(*request.cache), disk_(*visit_.cache.disk()), work_(describe_work(visit_, disk_)),
          is_blind_(visit_.large->body_bytes == shm::kBodyUnknown)
    {
        visit_.cache.row().add(shm::Metric::cache_disk_fetches);
        visit_.cache.row().add(shm::Metric::cache_fills_open);
    }
    DiskFetch(const DiskFetch&) = delete;
    DiskFetch& operator=(const DiskFetch&) = delete;
    ~DiskFetch() { visit_.cache.row().subtract(shm::Metric::cache_fills_open); }

    /// Room in the index for what has come; false: not now. `may_come`: files of dead objects stand in the way.
    bool reserve(bool& may_come);
    bool has_room() const noexcept { return reserved_ >= file_bytes(); }
    /// Begins what is to be done on the disk next; false = nothing, or something is under way.
    bool work();
    /// Takes in what the server has sent; false = nothing.
    bool receive();
    /// Whether the pool is at work on the file.
    bool is_working() const noexcept { return call_ && !call_->is_done(); }
    /// The file is there, whole.
    bool is_finished() const noexcept { return stage_ == Stage::finished; }
    /// A body whose length was not known grew past what may be kept.
    bool is_too_large() const noexcept;
    bool has_failed() const noexcept { return code_ != 0; }
    bool is_over() const noexcept { return is_finished() || has_failed(); }
    /// Whether it is to go on; asked after each receive().
    bool is_wanted() noexcept;
    /// Nobody wants it.
    void leave() noexcept { code_ = ECANCELED; }
    /// There is no room.
    void end_for_want() noexcept { code_ = ECANCELED; }
    /// It waited too long: for the disk, or for the server.
    void give_up() noexcept { code_ = is_working() ? ETIMEDOUT : ECANCELED; }
    /// Tells the tier how it went.
    void report() noexcept { disk_.wrote(code_); }
    /// Gives the object its place, if nothing that came later counts more.
    void publish();

private:
    enum class Stage : std::uint8_t { begin, body, finish, finished };
    void take_result();
    void call(std::function<int()> function);
    bool is_outdated() const;
    bool is_led_to() const;
    std::uint64_t file_bytes() const noexcept;
    bool store_stub();

    Request& request_;
    Turn& turn_;
    CacheVisit& visit_;
    DiskTier& disk_;
    std::shared_ptr<Work> work_;
    shm::CacheFill entry_; ///< of the index
    std::optional<DiskCall> call_;
    Stage stage_ = Stage::begin; ///< what is done next, or is under way
    std::string next_;           ///< received, not being written yet
    Chain incoming_;
    bool is_blind_;                        ///< nobody knows how long the body will be
    std::uint64_t taken_ = 0;              ///< of the body, from the server
    std::uint64_t taken_when_wanted_ = 0;  ///< when somebody wanted it last
    std::uint64_t reserved_ = 0;           ///< bytes of the file that the index has room for
    int code_ = 0; ///< why it failed: of the disk, or ECANCELED
};

/// Header and body, as far as it is known.
std::uint64_t DiskFetch::file_bytes() const noexcept
{
    const shm::DiskObject& object = work_->object;
    const std::uint64_t body_bytes = is_blind_ ? taken_ : object.body_bytes;
    return shm::disk_header_bytes(object, body_bytes) + body_bytes;
}

bool DiskFetch::is_too_large() const noexcept
{
    return is_blind_ && (taken_ > visit_.rules.object_bytes || shm::disk_header_bytes(work_->object, taken_) == 0 ||
                         file_bytes() > disk_.index().largest_body(visit_.name.hash, true));
}

bool DiskFetch::reserve(bool& may_come)
{
    if (entry_) {
        const std::uint64_t bytes = file_bytes();
        if (const auto grown = entry_.grow(bytes); !grown) {
            may_come = grown.error() != shm::CacheRefusal::too_large;
            disk_.tidy();
            return false;
        }
        reserved_ = bytes;
        return true;
    }
    char bytes[16];
    shm::CacheObject entry;
    entry.name = shm::CacheStore::name_by_hash(visit_.name.hash, bytes);
    const http::IndexedMeta meta{visit_.meta.freshness, visit_.cache.store().name(visit_.key).hash.low};
    entry.meta = meta.bytes(); // as disk_write.cc does
    entry.head = http::IndexedMeta::shortened(visit_.variant);
    entry.tags = visit_.large->tags;
    entry.epoch = visit_.epoch;
    entry.body_bytes = is_blind_ ? shm::kBodyUnknown : file_bytes();
    entry.in_file = true;
    auto begun = disk_.index().begin(entry);
    if (!begun) {
        // One reservation evicts only so many: the next one goes on.
        may_come = begun.error() == shm::CacheRefusal::waiting_for_files || begun.error() == shm::CacheRefusal::no_space;
        disk_.tidy();
        return false;
    }
    entry_ = std::move(*begun);
    reserved_ = is_blind_ ? 0 : file_bytes();
    work_->object.number = entry_.file();
    return true;
}

void DiskFetch::call(std::function<int()> function)
{
    call_.emplace(disk_.jobs(), request_.client.wake);
    const bool is_begun = call_->start([work = work_, function = std::move(function)] {
        return work->is_stopping->load(std::memory_order_relaxed) ? ECANCELED : function();
    });
    if (!is_begun) {
        call_.reset();
        code_ = ECANCELED;
    }
}

void DiskFetch::take_result()
{
    if (!call_ || !call_->is_done()) {
        return;
    }
    code_ = code_ == 0 ? call_->code() : code_;
    call_.reset();
    if (stage_ == Stage::begin) {
        stage_ = Stage::body;
    } else if (stage_ == Stage::finish) {
        stage_ = code_ == 0 ? Stage::finished : stage_;
    }
}

bool DiskFetch::work()
{
    const bool was_working = call_.has_value();
    take_result();
    if (call_ || is_over()) {
        return was_working && !call_;
    }
    Work& work = *work_;
    if (stage_ == Stage::begin) {
        call([&work] { return work.writer.begin(work.object); });
    } else if (turn_.body.is_complete() && next_.empty()) {
        stage_ = Stage::finish;
        work.object.body_bytes = visit_.large->body_bytes = taken_;
        call([&work] { return work.writer.finish(work.object); });
    } else if (next_.size() >= kWriteStep || turn_.body.is_complete()) {
        const std::size_t size = turn_.body.is_complete() ? std::min(next_.size(), kWriteStep) : kWriteStep;
        work.bytes.assign(next_, 0, size);
        next_.erase(0, size);
        call([&work] { return work.writer.append(work.bytes); });
    } else {
        return was_working;
    }
    return true;
}

bool DiskFetch::receive()
{
    bool moved = false;
    bool is_cut = false;
    while (!turn_.body.is_complete() && !is_cut && next_.size() < kWriteStep && turn_.may_pull()) {
        const std::uint64_t before = turn_.body.received();
        const BodyReader::Pull pull = turn_.pull(incoming_, kMostRead);
        visit_.cache.row().add(shm::Metric::bytes_from_servers, turn_.body.received() - before);
        if (pull == BodyReader::Pull::blocked) {
            break;
        }
        taken_ += incoming_.bytes();
        iovec vectors[kFetchVectors];
        while (!incoming_.empty()) {
            const int count = incoming_.vectors(vectors, kFetchVectors);
            for (int i = 0; i < count; ++i) {
                next_.append(static_cast<const char*>(vectors[i].iov_base), vectors[i].iov_len);
                incoming_.consume(vectors[i].iov_len);
            }
        }
        moved = true;
        is_cut = pull != BodyReader::Pull::progress && !turn_.body.is_complete();
    }
    if (is_cut) {
        visit_.cache.row().add(shm::Metric::server_bad_responses);
        code_ = ECANCELED;
    } else if (is_too_large()) {
        code_ = shm::kDiskTooLarge;
    } else if (is_blind_ && turn_.body.is_complete() && taken_ == 0) {
        code_ = ECANCELED; // nothing that the disk is needed for
    }
    return moved;
}

bool DiskFetch::is_wanted() noexcept
{
    if (visit_.cache.store().fills().is_wanted(visit_.large_claim)) {
        taken_when_wanted_ = taken_;
    }
    const std::uint64_t most = request_.live->config->cache.finish_bytes;
    return (!is_blind_ && turn_.body.left() <= most) || taken_ - taken_when_wanted_ <= most;
}

/// Whether the vary record that leads to the object is still the one that named it.
bool DiskFetch::is_led_to() const
{
    if (visit_.variant.empty()) {
        return true;
    }
    shm::CacheStore& store = visit_.cache.store();
    const shm::CacheView record = store.peek(store.name(visit_.key));
    const std::string names = visit_.vary_names + "\n" + visit_.vary_mark;
    return record && record.is_vary_record() && std::ranges::equal(record.meta(), std::as_bytes(std::span(names)));
}

/// Whether something that came later counts more: a purge, a request that changed something, a newer response.
bool DiskFetch::is_outdated() const
{
    shm::CacheStore& store = visit_.cache.store();
    if (store.fills().is_spoiled(visit_.large_claim) || !is_led_to() ||
        store.purges().state(visit_.url_of_key, visit_.large->tags, visit_.epoch) == shm::PurgeState::hard) {
        return true;
    }
    const shm::CacheView other = store.peek(visit_.name);
    return other && !other.is_vary_record() && http::StoredMeta::read(other.meta()).request_ms > visit_.request_ms;
}

bool DiskFetch::store_stub()
{
    shm::CacheObject object;
    object.name = visit_.name;
    const http::PackedMeta meta = visit_.meta.pack();
    object.meta = meta.bytes();
    object.head = visit_.large->head;
    object.tags = visit_.large->tags;
    object.epoch = visit_.epoch;
    object.body_bytes = visit_.large->body_bytes;
    object.disk_file = work_->object.number;
    auto begun = visit_.cache.begin(object);
    if (!begun) {
        return false;
    }
    visit_.view = begun->view().copy();
    begun->advance(object.body_bytes);
    return begun->complete();
}

void DiskFetch::publish()
{
    if (is_outdated()) {
        return;
    }
    const shm::CacheRef ref = entry_.view().ref();
    entry_.advance(file_bytes());
    if (!entry_.complete()) {
        return;
    }
    // Who makes it invalid leaves word first and takes away what is stored then; here it is the other way round: one of the two
    // sees the other.
    if (is_outdated()) {
        disk_.forget(ref);
        return;
    }
    if (store_stub()) {                           // else the next request makes one
        write_to_disk(visit_.cache, visit_.view); // the record that leads to it
    }
    visit_.cache.store().fills().forget(visit_.name.hash);
    visit_.cache.row().add(shm::Metric::cache_stored);
}

/// Waits until the index has room. False: it has not.
loop::Task<bool> wait_for_room(Request& request, DiskFetch& fetch)
{
    ClientStream& nobody = request.client;
    for (unsigned pauses = 0; pauses < kMostPauses; ++pauses) {
        bool may_come = false;
        if (fetch.reserve(may_come)) {
            co_return true;
        }
        if (!may_come) {
            break;
        }
        nobody.alarm.set(kUnlinkPause);
        while (!nobody.alarm.rang()) {
            co_await nobody.wake.wait();
        }
    }
    co_return false;
}

/// Receives and writes, until it is over. False: nobody wants it any more.
loop::Task<bool> run_fetch(Request& request, DiskFetch& fetch)
{
    ClientStream& nobody = request.client;
    bool is_wanted = true;
    nobody.alarm.set(request.timeouts().stall);
    for (;;) {
        const bool has_received = fetch.receive();
        if (!fetch.is_wanted()) {
            is_wanted = false;
            fetch.leave();
            break;
        }
        if (!fetch.is_over() && !fetch.has_room()) {
            const bool has_room = co_await wait_for_room(request, fetch);
            nobody.alarm.set(request.timeouts().stall);
            if (!has_room) {
                request.parts.row.add(shm::Metric::cache_disk_write_refused);
                fetch.end_for_want();
                break;
            }
        }
        const bool has_worked = fetch.work();
        if (fetch.is_over()) {
            break;
        }
        if (has_received || has_worked) {
            nobody.alarm.set(request.timeouts().stall);
            nobody.wake.kick_later(); // the other connections have a turn
        }
        co_await nobody.wake.wait();
        if (nobody.alarm.rang()) {
            fetch.give_up();
            break;
        }
    }
    nobody.alarm.clear();
    fetch.report();
    co_return is_wanted;
}

} // namespace

loop::Task<void> write_as_it_comes(Request& request, Turn& turn)
{
    CacheVisit& visit = *request.cache;
    bool may_be_tried_again = false;
    bool is_too_large = false;
    {
        DiskFetch fetch(request, turn);
        const bool has_room = co_await wait_for_room(request, fetch);
        if (has_room) {
            const bool is_wanted = co_await run_fetch(request, fetch);
            may_be_tried_again = fetch.is_finished() || !is_wanted;
            is_too_large = fetch.is_too_large();
        } else {
            request.parts.row.add(shm::Metric::cache_disk_write_refused);
        }
        if (fetch.is_finished()) {
            turn.release();
            fetch.publish();
        } else {
            turn.drop();
        }
        // What is under way may be about to make the file, or to give it its name: unlinked before that, it would stay for ever.
        while (fetch.is_working()) {
            co_await request.client.wake.wait();
        }
    }
    visit.view = {};
    if (may_be_tried_again) {
        visit.end_large_claim(shm::FillEnd::over);
    } else if (is_too_large) {
        visit.end_large_claim(shm::FillEnd::uncacheable, loop::clock_now() + kAfterTooLarge);
    }
    visit.cache.disk()->tidy();
}

} // namespace ladle::worker
