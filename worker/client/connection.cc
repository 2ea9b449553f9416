// SPDX-License-Identifier: Apache-2.0
#include "worker/client/connection.h"

namespace ladle::worker {

bool ClientConnection::flush()
{
    if (is_gone) {
        out.clear();
        return false;
    }
    if (out.empty() || !socket.may_write()) {
        return true;
    }
    const Io io = socket.write(out);
    sent_bytes += io.bytes;
    row_.add(shm::Metric::bytes_to_clients, io.bytes);
    if (io.state == IoState::failed) {
        is_gone = true;
        out.clear();
        return false;
    }
    return true;
}

bool ClientConnection::has_left() noexcept
{
    is_gone = is_gone || (socket.may_read() && socket.take_error() != 0);
    return is_gone;
}

} // namespace ladle::worker
