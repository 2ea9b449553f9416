// SPDX-License-Identifier: Apache-2.0
#include "worker/client/front.h"

#include "common/http/date.h"
#include "common/os/log.h"
#include "worker/cache/disk_tier.h"
#include "worker/net/resting.h"

#include <malloc.h>
#include <time.h>

#include <algorithm>

namespace ladle::worker {

namespace {

constexpr loop::Nanos kPreviousConfig = 5'000'000'000; // a removed address is served that long at the most
constexpr loop::Nanos kIdleGrace = 1'000'000'000;      // of an idle connection, once draining has begun

std::string make_date()
{
    char text[http::kDateLength];
    std::string line = "Date: ";
    line += http::format_date(::time(nullptr), text);
    line += "\r\n";
    return line;
}

void tick_upstreams(LiveConfig& config, loop::Nanos now) noexcept
{
    for (const auto& upstream : config.upstreams) {
        upstream->on_tick(now);
    }
}

} // namespace

Front::Front(FrontParts parts, std::unique_ptr<FileJobs> jobs, const config::Config& config)
    : spool_directory_(std::move(parts.spool_directory)), reap_(&Front::on_reap, this)
{
    parts_ = std::make_unique<WorkerParts>(parts.loop, parts.arena.regions(), parts.row, std::move(jobs), spool_directory_.get(),
                                           config.budget);
    parts_->date = make_date();
    parts_->access_log.set_file(std::move(parts.access_log));
}

Result<std::unique_ptr<Front>> Front::make(FrontParts parts, std::shared_ptr<const config::Config> config)
{
    set_block_metrics(parts.arena.regions().rows[parts.row]);
    auto jobs = FileJobs::make(parts.loop, parts.arena.regions().rows[parts.row]);
    if (!jobs) {
        return std::unexpected(jobs.error());
    }
    std::unique_ptr<Cache> cache;
    if (parts.cache != nullptr) {
        auto made = Cache::make(parts.loop, *parts.cache, parts.row, parts.arena.regions().rows[parts.row],
                                std::move(parts.cache_files), std::move(parts.cache_bells));
        if (!made) {
            return std::unexpected(made.error());
        }
        cache = std::move(*made);
        if (parts.disk_index != nullptr) {
            auto disk = DiskTier::make(parts.loop, *parts.disk_index, parts.row, parts.arena.regions().rows[parts.row],
                                       std::move(parts.disk_files));
            if (!disk) {
                return std::unexpected(disk.error());
            }
            cache->set_disk(std::move(*disk));
        }
    }
    std::unique_ptr<Front> front(new Front(std::move(parts), std::move(*jobs), *config));
    front->parts_->cache = std::move(cache);
    if (auto prepared = front->prepare(std::move(config)); !prepared) {
        return std::unexpected(prepared.error());
    }
    front->commit();
    return front;
}

Front::~Front()
{
    for (loop::Link* list : {&sessions_, &ended_}) {
        while (list->is_linked()) {
            delete static_cast<Session*>(list->next);
        }
    }
    parts_->copies.clear(); // they hold turns
    parts_->cache.reset();  // so do its errands
}

void Front::adopt_connection(os::Fd socket, const sockaddr_storage& peer, const std::string& bind_text)
{
    auto session = std::make_unique<Session>(*this, live_for(bind_text), bind_text);
    ++session_count_;
    was_full_ = was_full_ || is_full();
    parts_->row.add(shm::Metric::connections_accepted);
    Session& adopted = *session.release(); // owned by the list from here on
    adopted.insert_before(sessions_);
    if (!adopted.start(std::move(socket), peer)) {
        retire(adopted);
    }
}

const std::shared_ptr<LiveConfig>& Front::live_for(const std::string& bind_text) const
{
    const bool is_removed = live_->router.listen_index(bind_text) == Router::kNoListen;
    return is_removed && previous_ && previous_->router.listen_index(bind_text) != Router::kNoListen ? previous_ : live_;
}

void Front::retire(Session& session)
{
    session.insert_before(ended_);
    --session_count_;
    reap_.post(parts_->loop);
}

void Front::on_reap(void* self)
{
    auto& front = *static_cast<Front*>(self);
    while (front.ended_.is_linked()) {
        delete static_cast<Session*>(front.ended_.next);
    }
    if (front.was_full_ && !front.is_full() && front.on_room_ != nullptr) {
        front.was_full_ = false;
        front.on_room_(front.on_room_self_);
    }
}

Result<void> Front::prepare(std::shared_ptr<const config::Config> next)
{
    auto live = LiveConfig::make(std::move(next), parts_->servers, parts_->regions, parts_->row);
    if (!live) {
        return std::unexpected(live.error());
    }
    prepared_ = std::move(*live);
    return {};
}

void Front::commit()
{
    if (live_) {
        earlier_.push_back(live_);
        previous_ = live_;
        previous_until_ = parts_->loop.now() + kPreviousConfig;
    }
    live_ = std::move(prepared_);
    prepared_.reset();
    parts_->budget.set_limits(live_->config->budget);
    count_share();
}

void Front::abort_prepared()
{
    prepared_.reset();
}

void Front::start_drain()
{
    parts_->is_draining = true;
    parts_->servers.close_kept();
    for (loop::Link* at = sessions_.next; at != &sessions_; at = at->next) {
        static_cast<Session&>(*at).on_drain();
    }
    close_idle_sessions();
}

void Front::leave_disk() noexcept
{
    if (parts_->cache && parts_->cache->disk() != nullptr) {
        parts_->cache->disk()->leave();
    }
}

void Front::close_idle_sessions()
{
    const loop::Nanos now = parts_->loop.now();
    for (loop::Link* at = sessions_.next; at != &sessions_; at = at->next) {
        auto& session = static_cast<Session&>(*at);
        if (session.is_idle() && session.idle_since() + kIdleGrace <= now) {
            session.close_idle();
        }
    }
}

/// A worker's part of the connections that the whole proxy may hold.
void Front::count_share() noexcept
{
    const auto is_worker = [](const shm::ProcessRow& row) {
        return row.pid.load(std::memory_order_relaxed) != 0 && row.role.load(std::memory_order_relaxed) == shm::Role::worker;
    };
    const auto workers =
        std::max<std::ptrdiff_t>(1, std::count_if(std::begin(parts_->regions.rows), std::end(parts_->regions.rows), is_worker));
    share_ = std::max<std::size_t>(1, live_->config->connection_limits.total / static_cast<std::size_t>(workers));
}

void Front::on_tick()
{
    parts_->access_log.on_tick();
    Resting::rest_unused(parts_->loop.now());
    if (parts_->cache) {
        parts_->cache->on_tick();
    }
    tick_upstreams(*live_, loop::clock_now());
    std::erase_if(earlier_, [](const std::weak_ptr<LiveConfig>& config) {
        const std::shared_ptr<LiveConfig> alive = config.lock();
        if (alive) {
            tick_upstreams(*alive, loop::clock_now());
        }
        return !alive;
    });
    if (++ticks_ % 10 == 0) {
        parts_->date = make_date();
        count_share();
        const std::uint64_t lost = os::dropped_log_lines();
        parts_->row.add(shm::Metric::error_lines_dropped, lost - error_lines_dropped_);
        error_lines_dropped_ = lost;
    }
    if (previous_ && parts_->loop.now() > previous_until_) {
        previous_.reset();
        ::malloc_trim(0); // it may have been thousands of sites
    }
    if (parts_->is_draining) {
        close_idle_sessions();
    }
}

} // namespace ladle::worker
