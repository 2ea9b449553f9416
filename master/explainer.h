// SPDX-License-Identifier: Apache-2.0
//
// Passes what `ladle explain` asks on to a worker, and the worker's answer back (common/ipc/explanation.h says why a worker). Never
// waits: where the worker dies another one is asked, once; that this one dies too is an answer, and that one says nothing for three
// seconds. At most kMost at once. Master process; owned by Master.
#pragma once

#include "common/base/json.h"
#include "master/control/server.h"
#include "master/supervisor.h"

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>

namespace ladle::master {

class Explainer {
public:
    static constexpr std::size_t kMost = 64;

    Explainer(Supervisor& supervisor, ControlServer& control) : supervisor_(supervisor), control_(control) {}

    void ask(ControlServer::Id id, const nlohmann::json& request);
    void on_message(const Child& child, const ipc::Message& message);
    void on_exit(const Child& child);
    /// Each second.
    void on_tick();

private:
    struct Asked {
        ControlServer::Id id;
        pid_t worker;
        int ticks_left;
        std::string text;
        bool is_again; ///< the first one that was asked has died
    };
    void put(ControlServer::Id id, std::string text, bool is_again);
    void fail(ControlServer::Id id, const std::string& why);

    Supervisor& supervisor_;
    ControlServer& control_;
    std::uint64_t last_number_ = 0;
    std::map<std::uint64_t, Asked> asked_;
};

} // namespace ladle::master
