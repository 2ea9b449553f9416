// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/h2_pool.h"

#include <algorithm>
#include <utility>

namespace ladle::worker {

H2Greeting::~H2Greeting()
{
    if (connection != nullptr) {
        connection->forget_greeting();
    }
}

void H2Greeting::on_ready() noexcept
{
    is_over = true;
    connection = nullptr;
    wake.kick_later();
}

void H2Greeting::on_failure(std::string_view why)
{
    failure = why;
    on_ready();
}

H2Pool::Waiter::Waiter(H2Pool& pool, loop::Wake& wake) noexcept : pool_(pool), wake_(wake)
{
    insert_before(pool_.waiters_);
    ++pool_.waiting_;
}

void H2Pool::Waiter::leave() noexcept
{
    if (is_linked()) {
        unlink();
        --pool_.waiting_;
        pool_.stir(1);
    }
}

H2Pool::H2Pool(loop::Loop& loop, shm::ProcessRow& row) noexcept : loop_(loop), row_(row), reap_(&H2Pool::on_reap, this) {}

H2Pool::~H2Pool()
{
    for (loop::Link* list : {&connections_, &ended_}) {
        while (list->is_linked()) {
            delete static_cast<H2ServerConnection*>(list->next);
        }
    }
}

std::unique_ptr<ServerStream> H2Pool::open(const H2Terms& terms, const std::function<bool(ServerConnection&)>& is_good,
                                           bool& has_carried)
{
    for (loop::Link* at = connections_.next; at != &connections_; at = at->next) {
        auto& connection = static_cast<H2ServerConnection&>(*at);
        connection.catch_up();
        if (connection.room() == 0) {
            continue;
        }
        if (is_good(connection.transport())) {
            has_carried = connection.has_carried();
            return connection.open(terms);
        }
        connection.leave();
    }
    return nullptr;
}

void H2Pool::adopt(std::unique_ptr<ServerConnection> transport, const H2Terms& terms, H2Greeting& greeting)
{
    auto made = std::make_unique<H2ServerConnection>(*this, loop_, row_, std::move(transport), terms);
    H2ServerConnection& connection = *made.release(); // owned by the list from here on
    connection.insert_before(connections_);
    greeting.connection = &connection;
    connection.start(greeting);
}

void H2Pool::leave() noexcept
{
    for (loop::Link* at = connections_.next; at != &connections_; at = at->next) {
        static_cast<H2ServerConnection&>(*at).leave();
    }
}

void H2Pool::stir(std::size_t count) noexcept
{
    for (loop::Link* at = waiters_.next; at != &waiters_ && count > 0; at = at->next, --count) {
        static_cast<Waiter&>(*at).wake_.kick_later();
    }
}

void H2Pool::on_settings(std::uint32_t streams) noexcept
{
    streams_each_ = std::clamp<std::size_t>(streams, 1, H2ServerConnection::kMostStreams);
}

std::size_t H2Pool::count_idle() const noexcept
{
    std::size_t count = 0;
    for (const loop::Link* at = connections_.next; at != &connections_; at = at->next) {
        count += static_cast<const H2ServerConnection&>(*at).is_idle() ? 1 : 0;
    }
    return count;
}

void H2Pool::on_fruitless() noexcept
{
    if (++fruitless_ > 1) {
        rests_until_ = loop_.now() + kRest;
    }
}

bool H2Pool::is_hopeless() const noexcept
{
    if (!is_resting() || making_ > 0) {
        return false;
    }
    for (const loop::Link* at = connections_.next; at != &connections_; at = at->next) {
        if (!static_cast<const H2ServerConnection&>(*at).is_idle()) {
            return false;
        }
    }
    return true;
}

void H2Pool::retire(H2ServerConnection& connection) noexcept
{
    connection.insert_before(ended_);
    reap_.post(loop_);
    stir(1);
}

void H2Pool::on_reap(void* self)
{
    auto& pool = *static_cast<H2Pool*>(self);
    while (pool.ended_.is_linked()) {
        delete static_cast<H2ServerConnection*>(pool.ended_.next);
    }
}

} // namespace ladle::worker
