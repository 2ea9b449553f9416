// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/load_report.h"

#include "common/http/grammar.h"
#include "worker/upstream/orca.h"

namespace ladle::worker {

void take_load_report(Request& request, const Turn& turn, http::Fields& fields)
{
    if (!turn.upstream->settings().load_report) {
        return;
    }
    for (http::Field& field : fields) {
        const std::string_view name = fields.name(field);
        const bool is_binary = http::equals_ignoring_case(name, kBinaryLoadField);
        if (!is_binary && !http::equals_ignoring_case(name, kLoadField)) {
            continue;
        }
        field.is_dropped = true;
        const std::string_view value = fields.value(field);
        const auto load = is_binary ? parse_binary_load_report(value) : parse_load_report(value);
        const bool is_good = load && turn.upstream->report_load(turn.member, *load, request.parts.loop.now());
        request.parts.row.add(is_good ? shm::Metric::server_load_reports : shm::Metric::server_load_reports_bad);
    }
}

} // namespace ladle::worker
