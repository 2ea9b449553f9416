// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/passage.h"

#include "common/os/log.h"

#include <algorithm>

namespace ladle::worker {

namespace {

constexpr loop::Nanos kBreakerSecond = 1'000'000'000;

Answer refusal_for(Request& request, const Upstream& upstream)
{
    request.upstream_name = upstream.settings().name;
    const loop::Nanos shut = upstream.time_shut(request.parts.loop.now());
    request.parts.row.add(shm::Metric::breaker_refused);
    const auto seconds = static_cast<std::uint32_t>((shut + kBreakerSecond - 1) / kBreakerSecond);
    return {503, Reason::breaker_open, std::max(seconds, 1u)}; // while others try, nobody knows: soon
}

void log_change(const Upstream& upstream, shm::BreakerChange change, loop::Nanos now)
{
    const std::string& name = upstream.settings().name;
    if (change == shm::BreakerChange::closed) {
        os::log(os::Level::info, "the breaker of an upstream closes: its servers answer again", {{"upstream", name}});
        return;
    }
    const shm::BreakerReading reading = upstream.read_breaker(now);
    const std::string failures = std::to_string(reading.failures);
    const std::string requests = std::to_string(reading.requests);
    const std::string seconds = std::to_string((upstream.time_shut(now) + kBreakerSecond / 2) / kBreakerSecond);
    if (reading.was_trial) {
        os::log(os::Level::warning, "the breaker of an upstream opens again: a trial failed",
                {{"upstream", name}, {"failure", name_of(reading.last)}, {"seconds", seconds}});
    } else {
        os::log(os::Level::warning, "the breaker of an upstream opens: requests get 503",
                {{"upstream", name},
                 {"failed", failures},
                 {"requests", requests},
                 {"last", name_of(reading.last)},
                 {"seconds", seconds}});
    }
}

} // namespace

std::optional<Answer> refuse_while_shut(Request& request, const Upstream& upstream)
{
    return upstream.time_shut(request.parts.loop.now()) == 0 ? std::nullopt : std::optional(refusal_for(request, upstream));
}

void Passage::enter()
{
    const loop::Nanos now = request_.parts.loop.now();
    admission_ = upstream_->admit(now);
    if (admission_.has_closed) {
        log_change(*upstream_, shm::BreakerChange::closed, now);
    }
}

void Passage::settle()
{
    if (!has_ended_) {
        upstream_->give_back(admission_);
        return;
    }
    const loop::Nanos now = request_.parts.loop.now();
    const shm::BreakerChange change = upstream_->settle_admission(admission_, failure_, now);
    if (change != shm::BreakerChange::none) {
        log_change(*upstream_, change, now);
    }
}

bool Passage::is_refused() const noexcept
{
    const shm::BreakerPhase phase = upstream_->read_breaker(request_.parts.loop.now()).phase;
    return admission_.kind == shm::Admission::Kind::refused || phase == shm::BreakerPhase::open ||
           (phase == shm::BreakerPhase::half_open && admission_.kind != shm::Admission::Kind::trial);
}

Answer Passage::refuse()
{
    return refusal_for(request_, *upstream_);
}

} // namespace ladle::worker
