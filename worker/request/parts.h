// SPDX-License-Identifier: Apache-2.0
//
// WorkerParts: what all requests of a worker share. Made by the Front, lives as long as the worker.
#pragma once

#include "common/loop/loop.h"
#include "common/shm/arena.h"
#include "worker/cache/cache.h"
#include "worker/delivery/file_jobs.h"
#include "worker/delivery/spool.h"
#include "worker/delivery/spool_budget.h"
#include "worker/log/access_log.h"
#include "worker/mirror/copies.h"
#include "worker/upstream/server_set.h"

#include <cstdint>
#include <memory>
#include <string>

namespace ladle::worker {

struct WorkerParts {
    WorkerParts(loop::Loop& event_loop, shm::Regions& all, std::uint32_t own_row, std::unique_ptr<FileJobs> file_jobs,
                int spool_directory, const config::Budget& limits)
        : loop(event_loop), regions(all), row(all.rows[own_row]), jobs(std::move(file_jobs)),
          budget(all, own_row, limits), spool{event_loop, budget, jobs.get(), spool_directory}, access_log(jobs.get(), row),
          servers(event_loop, row), copies(event_loop, row, all.header.seed ^ (own_row + std::uint64_t{1}) * 0x9E3779B97F4A7C15)
    {
    }

    loop::Loop& loop;
    shm::Regions& regions;
    shm::ProcessRow& row;
    std::unique_ptr<FileJobs> jobs;
    SpoolBudget budget;
    SpoolParts spool;
    AccessLog access_log;
    ServerSet servers;
    Copies copies;
    std::unique_ptr<Cache> cache; ///< null where there is none
    std::string date; ///< "Date: …\r\n", made anew each second
    bool is_draining = false;
};

} // namespace ladle::worker
