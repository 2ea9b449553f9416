// SPDX-License-Identifier: Apache-2.0
//
// What targets need that drive a worker's code through a socket: a loop that is run turn by turn, the shared arena, a configuration
// from text, and a client's end of a connection.
#pragma once

#include "common/config/loader.h"
#include "common/loop/loop.h"
#include "common/os/fd.h"
#include "common/os/log.h"
#include "common/shm/arena.h"
#include "tests/fuzz/require.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace ladle {

inline std::shared_ptr<const config::Config> load_good(const std::string& text, std::map<std::string, std::string> files = {})
{
    files["fuzz.toml"] = text;
    config::BundleFiles all(config::Recording{std::move(files), {}});
    config::LoadResult result = config::load(all, "fuzz.toml");
    if (result.config == nullptr) {
        std::fputs(config::to_text(result.diagnostics).c_str(), stderr);
        abort();
    }
    return result.config;
}

struct Stage {
    Stage() { os::set_log_descriptor(-1); }

    /// Runs so many turns of the loop, and waits in none of them.
    void run(int turns)
    {
        turns_left = turns;
        step.post(*loop);
        loop->run();
    }
    shm::ProcessRow& row() const noexcept { return arena.regions().rows[0]; }

    std::unique_ptr<loop::Loop> loop = std::move(*loop::Loop::make());
    shm::Arena arena = std::move(*shm::Arena::make());
    int turns_left = 0;
    loop::Posted step{[](void* self) {
                          auto& stage = *static_cast<Stage*>(self);
                          if (--stage.turns_left > 0) {
                              stage.step.post(*stage.loop);
                          } else {
                              stage.loop->stop();
                          }
                      },
                      this};
};

/// An input of a mode, a place to cut at, and what a client sends.
struct CutInput {
    unsigned mode;
    std::size_t cut;
    std::string_view bytes;

    static std::optional<CutInput> read(const std::uint8_t* input, std::size_t size) noexcept
    {
        return size < 2 ? std::nullopt : std::optional(CutInput{input[0], input[1], text_of(input + 2, size - 2)});
    }
};

/// A connection's two ends.
struct Ends {
    Ends()
    {
        int both[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both) == 0);
        worker = os::Fd(both[0]);
        client = os::Fd(both[1]);
    }
    void send(std::string_view bytes) const
    {
        REQUIRE(bytes.empty() || ::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) != 0);
    }
    /// Adds what has come to `to`.
    void receive(std::string& to) const
    {
        char part[65536];
        for (ssize_t n = 0; (n = ::recv(client.get(), part, sizeof part, 0)) > 0;) {
            to.append(part, static_cast<std::size_t>(n));
        }
    }

    os::Fd worker;
    os::Fd client;
};

} // namespace ladle
