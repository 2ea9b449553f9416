// SPDX-License-Identifier: Apache-2.0
//
// H2Budget: how much an HTTP/2 connection may do that costs us more than its client: early resets, stream errors, control frames,
// empty DATA. A leaky bucket, and a bound on the bytes of control frames in relation to all others. One in each H2Connection. Pure.
#pragma once

#include "common/loop/loop.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace ladle::worker {

class H2Budget {
public:
    /// What one such event costs, in hundredths of a glitch.
    enum class Cost : std::uint32_t {
        early_reset = 50,     ///< RST_STREAM before the response has begun: work for nothing
        stream_error = 100,   ///< that we answer with RST_STREAM, and so has the same effect
        refused_stream = 20,  ///< one more than may be in work
        malformed = 100,      ///< a request that is no request
        excess_fields = 80,   ///< a KB beyond what a head may have: a byte in a frame may stand for 4 KB that were looked through
        settings = 100,
        empty_data = 50,      ///< a DATA frame that brings nothing, not even the end
        ping = 10,            ///< without anything sent to it since the last: gRPC measures its way with one for each message
        priority = 10,
    };

    /// `most` glitches at once, `per_second` are forgiven.
    H2Budget(std::uint32_t most, std::uint32_t per_second) noexcept : most_(most * 100ull), per_second_(per_second * 100ull) {}

    void charge(Cost cost, loop::Nanos now) noexcept
    {
        const std::uint64_t forgiven = since_ == 0 ? 0 : (now - since_) / 1'000'000 * per_second_ / 1000;
        if (since_ == 0 || forgiven > 0) {
            since_ = now;
        }
        used_ -= std::min(used_, forgiven);
        used_ += static_cast<std::uint64_t>(cost);
    }
    void count_control(std::size_t bytes) noexcept { control_bytes_ += bytes; }
    void count_payload(std::size_t bytes) noexcept { payload_bytes_ += bytes; }

    /// A quarter is used up: more than honest clients do in a hurry.
    bool is_odd() const noexcept { return used_ * 4 >= most_; }
    /// Three quarters are used up: the client should go.
    bool is_strained() const noexcept { return used_ * 4 >= most_ * 3; }
    bool is_spent() const noexcept { return used_ >= most_ || control_bytes_ > kControlBytes + kControlPart * payload_bytes_; }

private:
    static constexpr std::uint64_t kControlBytes = 1 << 20;
    static constexpr std::uint64_t kControlPart = 8;

    std::uint64_t most_;       ///< hundredths, as below
    std::uint64_t per_second_;
    std::uint64_t used_ = 0;
    loop::Nanos since_ = 0;    ///< what was used up then has been forgiven in part
    std::uint64_t control_bytes_ = 0;
    std::uint64_t payload_bytes_ = 0;
};

} // namespace ladle::worker
