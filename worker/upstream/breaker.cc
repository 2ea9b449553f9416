// SPDX-License-Identifier: Apache-2.0
//
// The breaker of an upstream as a whole, in the entry of its first server (shm/breaker.h).
#include "worker/upstream/upstream.h"

namespace ladle::worker {

/// Null where there is none, and for the last requests of an old configuration.
shm::Breaker* Upstream::breaker() const noexcept
{
    return settings_.breaker && members_.front().has_entry() ? &members_.front().entry->breaker : nullptr;
}

shm::Admission Upstream::admit(loop::Nanos now) noexcept
{
    shm::Breaker* const own = breaker();
    if (own == nullptr) {
        return {};
    }
    const shm::Admission admission = shm::admit(*own, breaker_rules(*settings_.breaker), number_of_row(), now);
    row_.add(shm::Metric::breaker_trials, admission.kind == shm::Admission::Kind::trial ? 1 : 0);
    row_.add(shm::Metric::breaker_closed, admission.has_closed ? 1 : 0);
    return admission;
}

shm::BreakerChange Upstream::settle_admission(const shm::Admission& admission, std::optional<shm::ServerFailure> failure,
                                              loop::Nanos now) noexcept
{
    shm::Breaker* const own = breaker();
    if (own == nullptr) {
        return shm::BreakerChange::none;
    }
    const shm::BreakerChange change = shm::settle_admission(*own, admission, failure, breaker_rules(*settings_.breaker), now);
    row_.add(shm::Metric::breaker_opened, change == shm::BreakerChange::opened ? 1 : 0);
    row_.add(shm::Metric::breaker_closed, change == shm::BreakerChange::closed ? 1 : 0);
    return change;
}

void Upstream::give_back(const shm::Admission& admission) noexcept
{
    if (shm::Breaker* const own = breaker(); own != nullptr) {
        shm::give_back(*own, admission);
    }
}

loop::Nanos Upstream::time_shut(loop::Nanos now) const noexcept
{
    const shm::Breaker* const own = breaker();
    return own == nullptr ? 0 : static_cast<loop::Nanos>(shm::time_shut(*own, breaker_rules(*settings_.breaker), now).count());
}

shm::BreakerReading Upstream::read_breaker(loop::Nanos now) const noexcept
{
    const shm::Breaker* const own = breaker();
    return own == nullptr ? shm::BreakerReading{} : shm::read_breaker(*own, now);
}

} // namespace ladle::worker
