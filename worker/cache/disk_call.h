// SPDX-License-Identifier: Apache-2.0
//
// DiskCall: one function that may wait for a disk, run by the pool of threads while a coroutine waits for it in the loop. It may be
// destroyed before the function has ended: then nobody hears of it. So the function owns all that it uses, and touches nothing else.
#pragma once

#include "common/loop/task.h"
#include "worker/delivery/file_jobs.h"

#include <functional>
#include <memory>
#include <utility>

namespace ladle::worker {

class DiskCall {
public:
    DiskCall(FileJobs& jobs, loop::Wake& wake) noexcept : jobs_(jobs), wake_(wake) {}
    DiskCall(const DiskCall&) = delete;
    DiskCall& operator=(const DiskCall&) = delete;
    ~DiskCall()
    {
        if (job_ != nullptr) {
            job_->owner = nullptr;
        }
    }

    /// False when the pool's queue is full: nothing was begun.
    [[nodiscard]] bool start(std::function<int()> work)
    {
        auto job = std::make_unique<FileJob>();
        job->operation = FileJob::Operation::call;
        job->work = std::move(work);
        job->owner = this;
        job->on_done = [](void* self, FileJob& done) { static_cast<DiskCall*>(self)->on_done(done.code); };
        job_ = jobs_.submit(job);
        return job_ != nullptr;
    }
    bool is_done() const noexcept { return job_ == nullptr; }
    /// 0, an errno, or shm::kDiskFileBad.
    int code() const noexcept { return code_; }

private:
    void on_done(int code) noexcept
    {
        job_ = nullptr;
        code_ = code;
        wake_.kick_later();
    }

    FileJobs& jobs_;
    loop::Wake& wake_;
    FileJob* job_ = nullptr; ///< under way
    int code_ = 0;
};

} // namespace ladle::worker
