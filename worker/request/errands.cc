// SPDX-License-Identifier: Apache-2.0
#include "worker/request/errands.h"

namespace ladle::worker {

void Errands::start(std::unique_ptr<Errand> errand)
{
    ++size_;
    Errand& started = *errand.release(); // owned by the list from here on
    started.insert_before(under_way_);
    started.main_ = started.run();
    started.main_.start();
}

void Errands::retire(Errand& errand) noexcept
{
    --size_;
    errand.insert_before(ended_);
    reap_.post(loop_);
}

void Errands::clear() noexcept
{
    destroy_all(under_way_);
    destroy_all(ended_);
    size_ = 0;
}

std::size_t Errands::awaited_count() const noexcept
{
    std::size_t count = 0;
    for (const loop::Link* at = under_way_.next; at != &under_way_; at = at->next) {
        count += static_cast<const Errand*>(at)->is_awaited();
    }
    return count;
}

void Errands::on_reap(void* self)
{
    destroy_all(static_cast<Errands*>(self)->ended_);
}

void Errands::destroy_all(loop::Link& errands) noexcept
{
    while (errands.is_linked()) {
        const std::unique_ptr<Errand> errand(static_cast<Errand*>(errands.next));
        errand->main_ = {};
    }
}

} // namespace ladle::worker
