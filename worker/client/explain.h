// SPDX-License-Identifier: Apache-2.0
//
// What would become of a request (`ladle explain`): takes it through identify, admit and find_route as one that came from a client,
// looks up which server has the least to do, and sends nothing. Runs in a worker, in its loop, within microseconds.
#pragma once

#include "common/ipc/explanation.h"
#include "worker/request/live_config.h"
#include "worker/request/parts.h"

#include <memory>

namespace ladle::worker {

/// Never fails: what is wrong with the question is said in the answer.
ipc::Explanation explain(WorkerParts& parts, const std::shared_ptr<LiveConfig>& live, const ipc::Question& question);

} // namespace ladle::worker
