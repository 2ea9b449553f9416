// SPDX-License-Identifier: Apache-2.0
#include "worker/mirror/copies.h"

namespace ladle::worker {

bool Copies::draw(std::uint32_t share) noexcept
{
    random_ ^= random_ << 13; // xorshift64
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return (random_ >> 32) * 100 >> 32 < share;
}

bool Copies::has_room(const config::MirrorLimits& limits, std::uint64_t body_bytes) const noexcept
{
    // After a reload there may be more than the new limits allow.
    return in_work_ < limits.requests && body_bytes_ <= limits.body_bytes && body_bytes <= limits.body_bytes - body_bytes_;
}

Copies::Place::Place(Copies& copies, std::uint64_t body_bytes) noexcept : copies_(copies), body_bytes_(body_bytes)
{
    ++copies_.in_work_;
    copies_.body_bytes_ += body_bytes_;
    copies_.row_.add(shm::Metric::mirror_in_work);
    copies_.row_.add(shm::Metric::mirror_body_bytes, body_bytes_);
}

Copies::Place::~Place()
{
    --copies_.in_work_;
    copies_.body_bytes_ -= body_bytes_;
    copies_.row_.subtract(shm::Metric::mirror_in_work);
    copies_.row_.subtract(shm::Metric::mirror_body_bytes, body_bytes_);
}

} // namespace ladle::worker
