// SPDX-License-Identifier: Apache-2.0
#include "common/os/socket.h"
#include "common/shm/arena.h"
#include "worker/net/listeners.h"

#include <doctest/doctest.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

using namespace ladle;
using worker::Listeners;

namespace {

/// Two slots of one address on a loop, with all that was accepted.
struct ListenerBench {
    std::optional<shm::Arena> arena;
    std::unique_ptr<loop::Loop> event_loop;
    std::unique_ptr<Listeners> listeners;
    std::vector<os::Fd> slots; ///< as the master holds them
    sockaddr_in address{};
    std::vector<os::Fd> accepted;
    std::vector<os::Fd> clients;
    int left = 0;

    explicit ListenerBench(worker::WakeUp wake_up = worker::WakeUp::one)
    {
        auto made = shm::Arena::make();
        REQUIRE(made);
        arena.emplace(std::move(*made));
        event_loop = std::move(*loop::Loop::make());
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        for (int i = 0; i < 2; ++i) {
            sockaddr_storage storage{};
            std::memcpy(&storage, &address, sizeof address);
            auto socket = os::bind_stream(storage, sizeof address, os::Sharing::group);
            REQUIRE(socket);
            REQUIRE(os::start_listening(socket->get()));
            socklen_t length = sizeof address;
            ::getsockname(socket->get(), reinterpret_cast<sockaddr*>(&address), &length);
            slots.push_back(std::move(*socket));
        }
        worker::ListenerEvents events;
        events.self = this;
        events.on_connection = [](void* self, os::Fd socket, const sockaddr_storage&, const std::string& text) {
            CHECK(text == "here");
            static_cast<ListenerBench*>(self)->accepted.push_back(std::move(socket));
        };
        events.on_left = [](void* self, const std::string&) { ++static_cast<ListenerBench*>(self)->left; };
        listeners = std::make_unique<Listeners>(*event_loop, arena->regions().rows[0], 0, events, wake_up);
        ipc::ListenerSlots shared{"here", {}};
        for (const os::Fd& slot : slots) {
            shared.slots.emplace_back(::dup(slot.get()));
        }
        listeners->add(std::move(shared));
    }

    void connect(int count)
    {
        for (int i = 0; i < count; ++i) {
            os::Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            REQUIRE(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
            clients.push_back(std::move(client));
        }
    }

    /// Runs the loop for a while.
    void run(int milliseconds)
    {
        loop::Timer end;
        REQUIRE(end.start(
            *event_loop, std::chrono::milliseconds(milliseconds), loop::Timer::Repeat::once,
            [](void* self) { static_cast<loop::Loop*>(self)->stop(); }, event_loop.get()));
        event_loop->run();
    }
};

} // namespace

TEST_CASE("exclusive watches deliver on this kernel")
{
    CHECK(worker::find_wake_up() == worker::WakeUp::one);
}

TEST_CASE("a worker accepts on its own slot first, on its siblings' once it has joined them")
{
    for (const worker::WakeUp wake_up :
         {worker::WakeUp::one, worker::WakeUp::all}) { // the second where EPOLLEXCLUSIVE does not work
        ListenerBench bench(wake_up);
        bench.listeners->apply({"here"});
        bench.connect(40); // the kernel spreads them over both slots
        bench.run(50);
        const std::size_t own = bench.accepted.size();
        CHECK(own > 0);
        CHECK(own < 40);
        bench.listeners->join_siblings();
        bench.run(50);
        CHECK(bench.accepted.size() == 40);
    }
}

TEST_CASE("a paused worker accepts nothing, a resumed one all that waited")
{
    ListenerBench bench;
    bench.listeners->apply({"here"});
    bench.listeners->join_siblings();
    bench.listeners->pause();
    bench.connect(10);
    bench.run(50);
    CHECK(bench.accepted.empty());
    bench.listeners->resume();
    bench.run(50);
    CHECK(bench.accepted.size() == 10);
    CHECK(bench.arena->regions().rows[0].value(shm::Metric::accept_paused) == 1);
}

TEST_CASE("a removed address is served until it is quiet, then left")
{
    ListenerBench bench;
    bench.listeners->apply({"here"});
    bench.listeners->join_siblings();
    bench.connect(3);
    bench.listeners->apply({});
    bench.run(50);
    CHECK(bench.accepted.size() == 3);
    for (int i = 0; i < 25 && bench.left == 0; ++i) {
        bench.run(100);
        bench.listeners->on_tick();
    }
    CHECK(bench.left == 1);
    bench.connect(1); // the master still holds the sockets
    bench.run(50);
    CHECK(bench.accepted.size() == 3);
}

TEST_CASE("a worker that leaves takes what waits only if nobody else will")
{
    ListenerBench alone;
    alone.listeners->apply({"here"});
    alone.connect(5);
    alone.listeners->leave(ipc::DrainRest::accept);
    CHECK(alone.accepted.size() == 5);

    ListenerBench among;
    among.listeners->apply({"here"});
    among.connect(5);
    among.listeners->leave(ipc::DrainRest::leave_to_siblings);
    among.run(50);
    CHECK(among.accepted.empty());
}

TEST_CASE("further slots of an address are watched at once")
{
    ListenerBench bench;
    bench.listeners->apply({"here"});
    bench.listeners->join_siblings();
    sockaddr_storage storage{};
    std::memcpy(&storage, &bench.address, sizeof bench.address);
    auto more = os::bind_stream(storage, sizeof bench.address, os::Sharing::group);
    REQUIRE(more);
    REQUIRE(os::start_listening(more->get()));
    std::vector<os::Fd> sockets;
    sockets.push_back(std::move(*more));
    bench.listeners->add_slots("here", std::move(sockets));
    bench.connect(30);
    bench.run(50);
    CHECK(bench.accepted.size() == 30);
}

TEST_CASE("addresses that were never applied are forgotten")
{
    ListenerBench bench;
    bench.listeners->drop_pending();
    bench.listeners->apply({"here"});
    bench.connect(2);
    bench.run(50);
    CHECK(bench.accepted.empty());
}
