// SPDX-License-Identifier: Apache-2.0
//
// Why a request or a connection ended as it did: the enum of common/shm/reasons_table.h.
#pragma once

#include "common/shm/metrics_table.h"
#include "common/shm/reasons_table.h"

#include <cstdint>
#include <string_view>

namespace ladle::worker {

enum class Reason : std::uint8_t {
#define LADLE_REASON_ENUM(X, name, text) name,
    LADLE_REASONS(LADLE_REASON_ENUM, )
#undef LADLE_REASON_ENUM
};

/// "client_left": for logs.
constexpr std::string_view name_of(Reason reason) noexcept
{
    constexpr std::string_view names[] = {
#define LADLE_REASON_NAME(X, name, text) #name,
        LADLE_REASONS(LADLE_REASON_NAME, )
#undef LADLE_REASON_NAME
    };
    return names[static_cast<std::size_t>(reason)];
}

/// The counter of the reason.
constexpr shm::Metric metric_of(Reason reason) noexcept
{
    return static_cast<shm::Metric>(static_cast<std::uint32_t>(shm::Metric::ended_ok) + static_cast<std::uint32_t>(reason));
}

} // namespace ladle::worker
