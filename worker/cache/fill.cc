// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/fill.h"

#include "worker/cache/disk_write.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <tuple>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::size_t kFirstFillRead = 16 << 10; // most bodies are small
constexpr std::size_t kLaterFillReads = 112 << 10;
constexpr unsigned kFillReadsPerTurn = 8; // then the other connections have a turn
constexpr int kVectors = 64;
/// Pages of that size: larger ones are less to walk, but each send holds its page, and one count of holders for a megabyte goes back and
/// forth between the processor that sends and the one that receives. 1 MB over veth: 49 µs with 64 or 128 KiB, 55 with 1 MiB.
constexpr std::uint64_t kAllocatedAtOnce = 128 << 10;

} // namespace

Fill::Fill(Cache& cache, std::shared_ptr<LiveConfig> live, Turn&& turn, shm::CacheFill object, os::Fd file, Limits limits,
           CacheVisit* begun_by)
    : cache_(cache), live_(std::move(live)), limits_(limits), begun_by_(begun_by), wake_(cache.loop()), alarm_(wake_),
      turn_(std::move(turn)), object_(std::move(object)), view_(object_.view().copy()),
      hash_(begun_by->name.hash), file_(std::move(file))
{
    begun_by_->fill = this;
    turn_.stream->set_news(&wake_.news());
    cache_.row().add(shm::Metric::cache_fills);
    cache_.row().add(shm::Metric::cache_fills_open);
}

Fill::~Fill()
{
    cache_.row().subtract(shm::Metric::cache_fills_open);
    if (begun_by_ != nullptr) {
        begun_by_->fill = nullptr;
    }
    cache_.ring(cache_.store().fills().finish(claim_, shm::FillEnd::over));
}

void Fill::start(std::unique_ptr<Fill> fill)
{
    Cache& cache = fill->cache_;
    fill->is_started_ = true;
    cache.start(std::move(fill));
}

void Fill::publish() noexcept
{
    if (object_.publish()) {
        cache_.outdate(view_);
    }
}

void Fill::end(State state) noexcept
{
    state_ = state;
    const std::uint64_t readers = object_ ? object_.rows_reading() : 0;
    if (state == State::complete) {
        if (object_.complete()) {
            cache_.row().add(shm::Metric::cache_stored);
            cache_.outdate(view_); // it may not have been shown before
            if (!live_->config->cache.disk.second_sight) {
                write_to_disk(cache_, view_);
            }
        } else {
            state_ = State::cut;
        }
    } else {
        object_.abort();
        cache_.row().add(shm::Metric::cache_fills_aborted);
    }
    if (state == State::cut) {
        turn_.stream.reset();
    }
    if (state_ != State::refused) {
        turn_.release();
    }
    end_claim();
    cache_.ring(readers);
    cache_.stir();
}

/// Those who wait for the claim find the object, or fetch by themselves; all at once, where it was too large to be kept.
void Fill::end_claim() noexcept
{
    shm::FillTable& fills = cache_.store().fills();
    const loop::Nanos now = loop::clock_now();
    const loop::Nanos until = now + loop::to_nanos(limits_.uncacheable_for);
    const bool is_uncacheable = state_ == State::refused;
    if (claim_.outcome == shm::ClaimOutcome::mine) {
        cache_.ring(fills.finish(claim_, is_uncacheable ? shm::FillEnd::uncacheable : shm::FillEnd::over, until));
        claim_ = {};
    } else if (is_uncacheable) {
        cache_.ring(fills.mark_uncacheable(hash_, now, until));
    }
}

bool Fill::store_inline(Chain& bytes) noexcept
{
    iovec vectors[kVectors];
    while (!bytes.empty()) {
        const int count = bytes.vectors(vectors, kVectors);
        for (int i = 0; i < count; ++i) {
            if (!object_.write({static_cast<const std::byte*>(vectors[i].iov_base), vectors[i].iov_len})) {
                return false;
            }
            bytes.consume(vectors[i].iov_len);
        }
    }
    return true;
}

/// Takes memory for the file in even steps: a tmpfs that has large pages chooses them by what is asked for at once, and a server's
/// pieces are small and uneven. Where that fails, the write does it, or says why not.
void Fill::allocate_to(std::uint64_t end) noexcept
{
    const std::uint64_t total = view_.body_bytes();
    while (total != shm::kBodyUnknown && allocated_ < std::min(end, total)) {
        const std::uint64_t step = std::min(total - allocated_, kAllocatedAtOnce);
        std::ignore = ::fallocate(file_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(allocated_), static_cast<off_t>(step));
        allocated_ += step;
    }
}

bool Fill::store_in_file(Chain& bytes) noexcept
{
    iovec vectors[kVectors];
    allocate_to(object_.view().filled() + bytes.bytes());
    while (!bytes.empty()) {
        const int count = bytes.vectors(vectors, kVectors);
        const ssize_t n = ::pwritev(file_.get(), vectors, count, static_cast<off_t>(object_.view().filled()));
        if (n <= 0) {
            return false;
        }
        object_.advance(static_cast<std::uint64_t>(n));
        bytes.consume(static_cast<std::size_t>(n));
    }
    return true;
}

/// Copies the body of another object, which is at hand.
bool Fill::store_part(const shm::CacheView& part)
{
    constexpr std::size_t kStep = 16; // iovecs
    const std::uint64_t end = part.filled();
    const auto from = part.is_in_file() ? cache_.open_file(part.file()) : nullptr;
    if (part.is_in_file() && !from) {
        return false;
    }
    std::uint64_t position = 0;
    while (position < end) {
        Chain chain;
        if (from) {
            const auto [at, size] = chain.room(16 << 10);
            const ssize_t n = ::pread(from->get(), at, std::min<std::uint64_t>(size, end - position), static_cast<off_t>(position));
            if (n <= 0) {
                return false;
            }
            chain.filled(static_cast<std::size_t>(n));
        } else {
            iovec vectors[kStep];
            const std::size_t count = part.body(position, end, vectors, kStep);
            for (std::size_t i = 0; i < count; ++i) {
                chain.append_copy({static_cast<const char*>(vectors[i].iov_base), vectors[i].iov_len});
            }
        }
        position += chain.bytes();
        if (!store(chain)) {
            return false;
        }
    }
    return true;
}

void Fill::join(shm::CacheView part, Side side)
{
    if (side == Side::behind) {
        part_behind_ = std::move(part);
    } else if (!store_part(part)) {
        end(State::cut);
    }
}

/// Stores all of `bytes`, or leaves what the cache does not take.
bool Fill::store(Chain& bytes)
{
    const std::uint64_t before = object_.view().filled();
    const bool fits = before + bytes.bytes() <= limits_.object_bytes;
    const bool stored = fits && (file_ ? store_in_file(bytes) : store_inline(bytes));
    stored_ = object_.view().filled();
    return stored;
}

/// The server has sent all.
void Fill::finish()
{
    const bool is_whole = !part_behind_ || store_part(part_behind_);
    part_behind_ = {};
    end(is_whole ? State::complete : State::cut);
}

Fill::State Fill::step()
{
    bool moved = false;
    for (unsigned reads = 0; reads < kFillReadsPerTurn && state_ == State::arriving; ++reads) {
        if (turn_.body.is_complete()) {
            finish();
            return state_;
        }
        if (!turn_.may_pull()) {
            break;
        }
        const std::uint64_t before = turn_.body.received();
        const std::size_t most = stored_ == 0 ? kFirstFillRead : kLaterFillReads;
        const BodyReader::Pull pull = turn_.pull(incoming_, most);
        cache_.row().add(shm::Metric::bytes_from_servers, turn_.body.received() - before);
        if (pull == BodyReader::Pull::blocked) {
            break;
        }
        if (!incoming_.empty() && !store(incoming_)) {
            end(part_behind_ ? State::cut : State::refused); // what is joined could not be passed on
            return state_;
        }
        if (pull != BodyReader::Pull::progress) {
            cache_.row().add(shm::Metric::server_bad_responses);
            end(State::cut);
            return state_;
        }
        moved = true;
    }
    if (state_ == State::arriving && turn_.body.is_complete()) {
        finish();
        return state_;
    }
    if (moved && is_started_) {
        cache_.ring(object_.rows_reading());
        cache_.stir();
        alarm_.set(limits_.stall);
        wake_.kick_later();
    }
    return state_;
}

/// Whether it is worth going on: somebody reads it, or little is left.
bool Fill::is_wanted() const noexcept
{
    if (object_.view().uses_here() > 2 || object_.rows_reading() != 0) { // two are our own
        return true;
    }
    const bool is_known = object_.view().body_bytes() != shm::kBodyUnknown;
    return (is_known ? turn_.body.left() : stored_) <= limits_.finish_bytes;
}

loop::Task<void> Fill::run()
{
    alarm_.set(limits_.stall);
    while (step() == State::arriving) {
        if (!is_wanted()) {
            end(State::cut);
            break;
        }
        co_await wake_.wait();
        if (alarm_.rang()) {
            end(State::cut);
            break;
        }
    }
    alarm_.clear();
    if (state_ != State::refused || begun_by_ == nullptr) {
        leave();
    }
}

void Fill::leave() noexcept
{
    if (is_started_ && !has_left_) {
        has_left_ = true;
        if (state_ != State::complete) {
            turn_.stream.reset();
        }
        turn_.lease.end();
        cache_.retire(*this);
    }
}

void Fill::take_over(Turn& turn, Chain& rest) noexcept
{
    turn = std::move(turn_);
    rest = std::move(incoming_);
    std::exchange(begun_by_, nullptr)->fill = nullptr;
    leave();
}

void Fill::forsake() noexcept
{
    begun_by_ = nullptr;
    if (state_ == State::refused) {
        leave();
    }
}

} // namespace ladle::worker
