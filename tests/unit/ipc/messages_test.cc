// SPDX-License-Identifier: Apache-2.0
#include "common/ipc/messages.h"
#include "common/os/memory_file.h"
#include "common/os/socket.h"

#include <doctest/doctest.h>

#include <fcntl.h>

#include <cerrno>

using namespace ladle;

TEST_CASE("a message arrives whole, with its text and descriptors")
{
    auto channel = os::make_channel();
    REQUIRE(channel);
    ipc::Message message;
    message.type = ipc::MessageType::prepare_config;
    message.generation = 1ull << 40;
    message.number = 7;
    message.text = std::string(10'000, 'x') + '\0' + "end";
    auto file = os::make_sealed_file("test", "content");
    REQUIRE(file);
    message.descriptors.push_back(std::move(*file));
    REQUIRE(ipc::send(channel->first.get(), message));
    auto got = ipc::receive(channel->second.get());
    REQUIRE(got);
    CHECK(got->type == message.type);
    CHECK(got->generation == message.generation);
    CHECK(got->number == 7);
    CHECK(got->text == message.text);
    REQUIRE(got->descriptors.size() == 1);
    CHECK(os::read_whole(got->descriptors[0].get(), 100).value() == "content");
    CHECK((::fcntl(got->descriptors[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("many descriptors go in one message")
{
    auto channel = os::make_channel();
    REQUIRE(channel);
    ipc::Message message;
    message.type = ipc::MessageType::listener;
    for (int i = 0; i < 250; ++i) {
        message.descriptors.emplace_back(::fcntl(0, F_DUPFD_CLOEXEC, 3));
    }
    REQUIRE(ipc::send(channel->first.get(), message));
    auto got = ipc::receive(channel->second.get());
    REQUIRE(got);
    CHECK(got->descriptors.size() == 250);
}

TEST_CASE("messages keep their order, an empty channel says EAGAIN, a gone peer EPIPE")
{
    auto channel = os::make_channel();
    REQUIRE(channel);
    CHECK(ipc::receive(channel->second.get()).error().code == EAGAIN);
    for (std::uint64_t i = 0; i < 5; ++i) {
        ipc::Message message;
        message.type = ipc::MessageType::committed;
        message.generation = i;
        REQUIRE(ipc::send(channel->first.get(), message));
    }
    channel->first.reset();
    for (std::uint64_t i = 0; i < 5; ++i) {
        CHECK(ipc::receive(channel->second.get())->generation == i);
    }
    CHECK(ipc::receive(channel->second.get()).error().code == EPIPE);
    CHECK_FALSE(ipc::send(channel->second.get(), ipc::Message{}));
}
