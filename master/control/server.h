// SPDX-License-Identifier: Apache-2.0
//
// The control socket: how the commands of the CLI reach the running master. One connection carries one request, a line of JSON
// such as {"command":"status"}, and gets one answer, a line of JSON with at least "ok" and, if it is false, "message". The answer
// may take its time (reload, stop). The socket is the identity of a running proxy: a lock file beside it keeps two masters from
// racing, a socket that nobody serves is replaced. Mode 0600: who may open it may command. Master process, owned by Master.
#pragma once

#include "common/base/error.h"
#include "common/base/json.h"
#include "common/loop/loop.h"
#include "common/os/fd.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace ladle::master {

class ControlServer {
public:
    /// Names a connection that waits for its answer; 0 is none.
    using Id = std::uint64_t;
    using OnRequest = std::function<void(Id, const nlohmann::json& request)>;

    ControlServer(loop::Loop& loop, OnRequest on_request);
    ~ControlServer();

    /// Takes the lock and opens the socket, making its folder if only that is missing. `detail` of a failure is a line for the
    /// user.
    Result<void> open(const std::string& path);
    /// The same with what a former image of this process had open.
    Result<void> adopt(const std::string& path, os::Fd socket, os::Fd lock);
    /// Removes the socket and lets the lock go. Connections that wait stay, so that they can be answered.
    void close();

    /// Sends the answer and closes the connection. Unknown or gone: nothing happens.
    void answer(Id id, const nlohmann::json& answer);
    /// The same without the loop, for the last moments: blocks for at most a second.
    void answer_now(Id id, const nlohmann::json& answer);
    /// A waiting connection's descriptor, to be kept over an exec, and the connection from it again; -1 = gone.
    int descriptor(Id id);
    Id adopt_connection(os::Fd socket);

    int socket_descriptor() const { return socket_.get(); }
    int lock_descriptor() const { return lock_.get(); }

private:
    struct Connection;
    void on_acceptable();
    void on_ready(Connection& connection);
    void read_request(Connection& connection);
    void write_answer(Connection& connection);
    Connection* find(Id id);
    void remove(Id id);

    loop::Loop& loop_;
    OnRequest on_request_;
    std::string path_;
    os::Fd lock_;
    os::Fd socket_;
    loop::Watch watch_;
    Id last_id_ = 0;
    std::vector<std::unique_ptr<Connection>> connections_;
    std::vector<std::unique_ptr<Connection>> finished_; ///< freed outside their own callback
    loop::Posted free_finished_;
};

} // namespace ladle::master
