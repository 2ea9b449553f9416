// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/serve.h"

#include "common/http/conditional.h"
#include "worker/cache/answer_plan.h"
#include "worker/cache/cache.h"
#include "worker/cache/disk_source.h"
#include "worker/cache/fill.h"
#include "worker/cache/large.h"
#include "worker/cache/look_up.h"
#include "worker/cache/obtain.h"
#include "worker/cache/stored_fields.h"
#include "worker/delivery/deliver.h"
#include "worker/response/response_writer.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

namespace ladle::worker {

namespace {

constexpr std::uint64_t kFileStep = 2 << 20;  // of a file in one system call: then the other connections have a turn
constexpr std::size_t kCopyStep = 64 << 10;   // of a body without a length, which goes out in chunks

/// One stored answer on its way to its client.
class Serving {
public:
    Serving(Request& request, AnswerPlan&& plan, std::shared_ptr<const os::Fd> file, std::unique_ptr<DiskSource> disk)
        : request_(request), view_(request.cache->view), plan_(std::move(plan)), file_(std::move(file)), disk_(std::move(disk))
    {
        if (!plan_.parts.empty()) {
            position_ = plan_.parts.front().begin;
        }
    }

    void begin();
    /// Goes on with the same bytes of another object, which the visit's view is now.
    void change_source(std::shared_ptr<const os::Fd> file) noexcept
    {
        file_ = std::move(file);
        is_cut_ = false;
    }
    /// Sends what is at hand; false = nothing moved.
    bool step();
    bool is_done() const noexcept { return request_.client.is_gone || (is_ended_ && request_.client.is_flushed()); }
    /// Whether it waits for bytes that are still being stored, not for the client.
    bool waits_for_body() const noexcept { return waits_for_body_; }
    /// Whether the body comes from disk, from where alone it is to be had; takes the file away if that is why it ended.
    bool forget_damaged_file() noexcept
    {
        if (disk_) {
            disk_->forget_if_damaged();
        }
        return disk_ != nullptr;
    }
    /// Whether it waits for the disk, not for the client.
    bool waits_for_disk() const noexcept { return disk_ && disk_->is_reading(); }
    /// How much of the body there was at the last step().
    std::uint64_t seen() const noexcept { return seen_; }
    /// Whether the object ended before its body did.
    bool is_cut() const noexcept { return is_cut_; }
    BodyForm form() const noexcept { return plan_.form; }
    /// Whether all that is missing is what the object's body would have gone on with.
    bool misses_only_end() const noexcept
    {
        return position_ == seen_ && part_ + 1 == plan_.parts.size() && plan_.after.empty() && plan_.parts[part_].end == view_.body_bytes();
    }

private:
    std::uint64_t find_end();
    bool send(std::uint64_t end);
    bool send_inline(std::uint64_t end);
    bool send_from_disk(std::uint64_t end);
    bool send_chunk(std::uint64_t end);
    void next_part();

    Request& request_;
    const shm::CacheView& view_;
    AnswerPlan plan_;
    std::shared_ptr<const os::Fd> file_;
    std::unique_ptr<DiskSource> disk_;
    std::size_t part_ = 0;
    std::uint64_t position_ = 0; ///< in the object's body
    std::uint64_t seen_ = 0;
    bool waits_for_body_ = false;
    bool is_cut_ = false;
    bool is_ended_ = false; ///< all of it stands in `out` or has gone
};

void Serving::begin()
{
    request_.cache->append_status_line(plan_.more_lines);
    const StoredHead head{.status = plan_.status,
                          .lines = plan_.lines,
                          .unstored_lines = request_.cache->unstored_lines,
                          .more_lines = plan_.more_lines,
                          .form = plan_.form,
                          .length = plan_.length,
                          .shows_length = plan_.shows_length,
                          .is_multipart = plan_.is_multipart};
    write_stored_head(request_, head);
    if (plan_.parts.empty()) {
        is_ended_ = true;
    } else {
        request_.client.out.append_copy(plan_.parts.front().before);
    }
}

/// Up to where the current part may be sent now; sets what it waits for.
std::uint64_t Serving::find_end()
{
    const shm::CacheState state = view_.state(); // before filled()
    const std::uint64_t filled = seen_ = view_.filled();
    std::uint64_t end = plan_.parts[part_].end;
    if (state == shm::CacheState::complete && end == shm::kBodyUnknown) {
        plan_.parts[part_].end = end = filled;
    }
    waits_for_body_ = false;
    if (end > filled) {
        end = std::max(filled, position_); // an object that was got again may be behind the one before
        if (position_ >= filled) {
            is_cut_ = state == shm::CacheState::aborted;
            waits_for_body_ = !is_cut_;
        }
    }
    return end;
}

void Serving::next_part()
{
    ++part_;
    if (part_ < plan_.parts.size()) {
        position_ = plan_.parts[part_].begin;
        request_.client.out.append_copy(plan_.parts[part_].before);
        return;
    }
    request_.client.out.append_copy(plan_.after);
    request_.client.finish_body();
    is_ended_ = true;
}

bool Serving::send_inline(std::uint64_t end)
{
    iovec vectors[Socket::kMoreVectors];
    const std::size_t count = view_.body(position_, end, vectors, Socket::kMoreVectors);
    const std::size_t sent = request_.client.send_memory(vectors, static_cast<int>(count));
    position_ += sent;
    request_.body_sent += sent;
    return sent != 0;
}

bool Serving::send_from_disk(std::uint64_t end)
{
    if (!request_.client.ready().may_send) {
        return false;
    }
    const std::string_view bytes = disk_->at(position_, end);
    if (bytes.empty()) {
        is_cut_ = disk_->is_bad();
        return false;
    }
    const iovec vector{const_cast<char*>(bytes.data()), bytes.size()};
    const std::size_t sent = request_.client.send_memory(&vector, 1);
    position_ += sent;
    request_.body_sent += sent;
    if (sent < bytes.size()) {
        disk_->let_go(position_);
    }
    return sent != 0;
}

bool Serving::send_chunk(std::uint64_t end)
{
    ClientStream& client = request_.client;
    if (client.out.bytes() >= client.out_most) {
        return false;
    }
    Chain chunk;
    iovec vectors[Socket::kMoreVectors];
    const std::uint64_t last = std::min(end, position_ + kCopyStep);
    const std::size_t count = view_.body(position_, last, vectors, Socket::kMoreVectors);
    for (std::size_t i = 0; i < count; ++i) {
        chunk.append_copy({static_cast<const char*>(vectors[i].iov_base), vectors[i].iov_len});
    }
    position_ += chunk.bytes();
    request_.body_sent += chunk.bytes();
    client.send_body(std::move(chunk));
    return true;
}

bool Serving::send(std::uint64_t end)
{
    if (request_.client.is_chunked()) {
        return send_chunk(end);
    }
    if (disk_) {
        return send_from_disk(end);
    }
    if (!file_) {
        return send_inline(end);
    }
    const std::size_t sent = request_.client.send_file(file_->get(), position_, std::min<std::uint64_t>(end - position_, kFileStep));
    position_ += sent;
    request_.body_sent += sent;
    return sent != 0;
}

bool Serving::step()
{
    ClientStream& client = request_.client;
    bool moved = false;
    std::uint64_t budget = kFileStep;
    while (!is_ended_ && !client.is_gone && budget > 0) {
        const std::uint64_t end = find_end();
        if (position_ == end) {
            if (waits_for_body_ || is_cut_) {
                break;
            }
            next_part();
            moved = true;
            continue;
        }
        const std::uint64_t before = position_;
        if (!send(end)) {
            break;
        }
        moved = true;
        budget -= std::min(budget, position_ - before);
    }
    const std::size_t before = client.out.bytes();
    client.flush();
    return moved || client.out.bytes() != before;
}

/// The object ended before its body, and this request's own fill still holds the rest: it is passed on from there.
loop::Task<void> pass_rest(Request& request, Turn& turn, const Serving& serving)
{
    Chain rest;
    const std::uint64_t so_far = request.cache->fill->view().filled();
    request.cache->fill->take_over(turn, rest);
    turn.stream->set_news(&request.client.wake.news());
    request.cache->view = {};
    see_large_unannounced(request, so_far + rest.bytes());
    co_await deliver_rest(request, turn, std::move(rest), serving.form());
}

std::string strong_etag_of(const shm::CacheView& view)
{
    const StoredFields stored(view.head());
    const auto etag = http::find_validators(stored.fields(), wall_clock_ms() / 1000).etag;
    return etag && !etag->is_weak ? std::string(etag->text) : std::string();
}

/// The object ended before its body, as the server, or the worker that was filling it, is gone. The same representation, by its strong
/// ETag and length, is got once more, so that the client need not notice. False: it is not to be had.
loop::Task<bool> get_again(Request& request, Turn& turn, Serving& serving)
{
    CacheVisit& visit = *request.cache;
    const std::string etag = strong_etag_of(visit.view);
    const std::uint64_t length = visit.view.body_bytes();
    if (visit.has_resumed || visit.is_part || etag.empty() || !visit.looks_up) {
        co_return false;
    }
    visit.has_resumed = true;
    visit.wants_whole = true;
    visit.wanted.reset();
    visit.view = {};
    const Found found = look_up(request);
    if (found != Found::hit) {
        Obtained obtained = co_await obtain(request, turn, found);
        if (!obtained.has_object) {
            co_return false;
        }
    }
    std::shared_ptr<const os::Fd> file = visit.view.is_in_file() ? visit.cache.open_file(visit.view.file()) : nullptr;
    const bool is_at_hand = !visit.view.is_on_disk() && (!visit.view.is_in_file() || file);
    const bool is_same = strong_etag_of(visit.view) == etag && !visit.is_part && is_at_hand &&
                         (length == shm::kBodyUnknown || visit.view.body_bytes() == length);
    if (is_same) {
        serving.change_source(std::move(file));
    }
    co_return is_same;
}

void cut_off(Request& request, BodyForm form)
{
    request.reason = Reason::server_cut;
    request.after = form == BodyForm::to_close ? After::abort : After::close;
    request.parts.row.add(shm::Metric::responses_cut);
}

/// The object ended before its body. True: it goes on, from elsewhere.
loop::Task<bool> mend(Request& request, Turn& turn, Serving& serving)
{
    const Fill* const fill = request.cache->fill;
    if (fill != nullptr && fill->state() == Fill::State::refused && serving.misses_only_end()) {
        co_await pass_rest(request, turn, serving);
        co_return false;
    }
    if (serving.forget_damaged_file()) {
        cut_off(request, serving.form());
        co_return false;
    }
    const bool goes_on = co_await get_again(request, turn, serving);
    if (!goes_on) {
        cut_off(request, serving.form());
    }
    co_return goes_on;
}

void count_hit(Request& request)
{
    const CacheVisit& visit = *request.cache;
    if (visit.is_stale) {
        request.parts.row.add(shm::Metric::cache_stale_hits);
    } else if (visit.forwarded == http::Forwarded::no) {
        request.parts.row.add(shm::Metric::cache_hits);
    }
}

} // namespace

loop::Task<Served> serve(Request& request, Turn& turn)
{
    CacheVisit& visit = *request.cache;
    ClientStream& client = request.client;
    std::shared_ptr<const os::Fd> file;
    if (visit.view.is_in_file()) {
        file = visit.cache.open_file(visit.view.file());
    }
    const bool is_gone = (visit.view.is_in_file() && !file) || visit.view.state() == shm::CacheState::aborted;
    const bool may_take_over = visit.fill != nullptr && visit.fill->state() == Fill::State::refused;
    if (is_gone && !may_take_over) {
        co_return Served::again;
    }
    AnswerPlan plan = plan_answer(request);
    std::unique_ptr<DiskSource> disk;
    if (visit.view.is_on_disk() && !plan.parts.empty()) {
        disk = co_await open_disk_source(request, plan.parts.front().begin, plan.parts.front().end);
        if (!disk) {
            co_return Served::again;
        }
        request.parts.row.add(shm::Metric::cache_disk_serves);
    }
    count_hit(request);
    Serving serving(request, std::move(plan), std::move(file), std::move(disk));
    serving.begin();
    client.alarm.set(request.timeouts().stall);
    for (;;) {
        const bool moved = serving.step();
        if (serving.is_done()) {
            break;
        }
        if (serving.is_cut()) {
            const bool goes_on = co_await mend(request, turn, serving);
            if (!goes_on) {
                break;
            }
            client.alarm.set(request.timeouts().stall);
            continue;
        }
        if (moved) {
            client.alarm.set(request.timeouts().stall);
            if (client.ready().may_send && !serving.waits_for_body() && !serving.waits_for_disk()) {
                client.wake.kick_later(); // it could go on: take turns with the other connections
            }
        }
        std::optional<CacheWaiter> waiter;
        if (serving.waits_for_body()) {
            waiter.emplace(visit.cache, client.wake, visit.view, serving.seen());
        }
        co_await client.wake.wait();
        if (client.alarm.rang() && !(waiter && waiter->has_news())) {
            const bool has_all_there_is = client.is_flushed() && (serving.waits_for_body() || serving.waits_for_disk());
            request.reason = has_all_there_is ? Reason::server_stalled : Reason::client_stalled;
            request.after = After::abort;
            request.parts.row.add(shm::Metric::responses_cut);
            break;
        }
        client.has_left();
    }
    if (client.is_gone) {
        request.reason = Reason::client_left;
        request.after = After::abort;
    }
    co_return Served::done;
}

} // namespace ladle::worker
