// SPDX-License-Identifier: Apache-2.0
//
// A load report of Open Request Cost Aggregation: the value of a response's field endpoint-load-metrics, in one of its forms
//
//   TEXT cpu_utilization=0.3, rps_fractional=10.0, eps=1, named_metrics.x=0.4
//   JSON {"cpu_utilization": 0.3, "rps_fractional": 10.0, "named_metrics": {"x": 0.4}}
//   BIN  base64 of an xds.data.orca.v3.OrcaLoadReport, which endpoint-load-metrics-bin has without the word
//
// or nothing: whatever does not fit its form is no report at all. A pure function of the text, which a server may fill with
// anything: it takes no memory, and time in proportion to the text.
#pragma once

#include "common/shm/server_load.h"

#include <optional>
#include <string_view>

namespace ladle::worker {

inline constexpr std::string_view kLoadField = "endpoint-load-metrics";
inline constexpr std::string_view kBinaryLoadField = "endpoint-load-metrics-bin";
inline constexpr std::size_t kMostLoadReport = 4096; ///< bytes; a longer one is none

/// Utilisation is application_utilization, or cpu_utilization where that is 0 or missing. What is not said is 0.
std::optional<shm::LoadWord> parse_load_report(std::string_view value) noexcept;
/// The same of the field that is always binary.
std::optional<shm::LoadWord> parse_binary_load_report(std::string_view base64) noexcept;

} // namespace ladle::worker
