// SPDX-License-Identifier: Apache-2.0
//
// Load reports in all their forms, and what is none.
#include "worker/upstream/orca.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <string>

using namespace ladle;
using namespace ladle::worker;

namespace {

/// "utilisation rps eps", or "-".
std::string reported(std::string_view value)
{
    const auto load = parse_load_report(value);
    if (!load) {
        return "-";
    }
    const auto number = [](double of) {
        std::string text = std::to_string(of);
        text.erase(text.find_last_not_of('0') + 1);
        return text.ends_with('.') ? text.substr(0, text.size() - 1) : text;
    };
    return number(load->utilization) + " " + number(load->rps) + " " + number(load->eps);
}

/// A report as bytes of protobuf, in base64.
std::string base64(const std::string& bytes)
{
    constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i < 3; ++i) {
            bits = bits << 8 | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0u);
        }
        for (std::size_t i = 0; i < 4; ++i) {
            out += at + i <= bytes.size() ? kDigits[bits >> (18 - 6 * i) & 63] : '=';
        }
    }
    return out;
}

} // namespace

TEST_CASE("orca: the text of the specification, and application_utilization before cpu_utilization")
{
    CHECK(reported(
              "TEXT cpu_utilization=0.3, mem_utilization=0.8, rps_fractional=10.0, eps=1, named_metrics.custom_metric_util=0.4") ==
          "0.3 10 1");
    CHECK(reported("TEXT cpu_utilization=0.3,application_utilization=0.7,rps_fractional=2e2") == "0.7 200 0");
    CHECK(reported("TEXT cpu_utilization=0.3,application_utilization=0,rps_fractional=5") == "0.3 5 0");
    CHECK(reported("TEXT  eps = 1 ,\trps_fractional\t=\t2") == "0 2 1");
    CHECK(reported("TEXT named_metrics.x=1") == "0 0 0");
    CHECK(reported("TEXT eps=1,") == "0 0 1");
}

TEST_CASE("orca: JSON, with the names of either spelling, and whatever else it holds")
{
    CHECK(reported(R"(JSON {"cpu_utilization": 0.3, "mem_utilization": 0.8, "rps_fractional": 10.0, "eps": 1, )"
                   R"("named_metrics": {"custom-metric-util": 0.4}})") == "0.3 10 1");
    CHECK(reported(R"(JSON { "applicationUtilization":0.25,"rpsFractional":1e1 , "x":[1,{"eps":9},"]"], "y":"a\"}", )"
                   R"("z":null, "w":-1 } )") == "0.25 10 0");
    CHECK(reported(R"(JSON {"a": {"cpu_utilization": 5}, "cpu_utilization": 0.5})") == "0.5 0 0");
    CHECK(reported("JSON {}") == "0 0 0");
}

TEST_CASE("orca: protobuf in base64, in the specification's own bytes, padded or not")
{
    CHECK(reported("BIN CZqZmZmZmbk/MQAAAAAAAABAQg4KA2ZvbxGamZmZmZm5P0IOCgNiYXIRmpmZmZmZyT8=") == "0.1 2 0");
    CHECK(reported("BIN CZqZmZmZmbk/MQAAAAAAAABAQg4KA2ZvbxGamZmZmZm5P0IOCgNiYXIRmpmZmZmZyT8") == "0.1 2 0");
    CHECK(parse_binary_load_report("CZqZmZmZmbk_MQAAAAAAAABA")->rps == 2); // the other alphabet
    const std::string half("\0\0\0\0\0\0\xe0\x3f", 8);
    CHECK(reported("BIN " + base64("\x49" + half + "\x18\x05" + "\x39" + half + std::string("\x55\x01\x02\x03\x04", 5))) ==
          "0.5 0 0.5");
}

TEST_CASE("orca: what does not fit its form is no report")
{
    for (const char* bad : {"",
                            "TEXT",
                            "TEXT ",
                            "text eps=1",
                            "eps=1",
                            "XML <eps/>",
                            "TEXTeps=1",
                            "TEXT eps",
                            "TEXT eps=",
                            "TEXT =1",

                            "TEXT ,eps=1",
                            "TEXT eps=-1",
                            "TEXT eps=nan",
                            "TEXT eps=inf",
                            "TEXT eps=1e999",
                            "TEXT eps=1x",
                            "TEXT eps=0x1p3",
                            "TEXT eps=.5",
                            "TEXT eps=+1",
                            "TEXT eps=1 2",
                            "TEXT x=y",
                            "JSON",
                            "JSON x",
                            "JSON {",
                            "JSON {\"eps\"}",
                            "JSON {\"eps\":}",
                            "JSON {\"eps\":1",
                            "JSON {\"eps\":1}}",
                            "JSON {\"eps\":-1}",
                            "JSON {\"eps\":\"1\"}",
                            "JSON {\"eps\":null}",
                            "JSON {\"eps\":1,}",
                            "JSON {\"x\":NaN}",
                            "JSON {\"x\\\":1}",
                            "JSON [1]",
                            "JSON {\"eps\":1e999}",
                            "JSON {'eps':1}",
                            "BIN",
                            "BIN =",
                            "BIN A",
                            "BIN AA AA",
                            "BIN CZqZ",
                            "BIN !!!!",
                            "BIN Cw==",
                            "BIN Qv8B"}) {
        CHECK_MESSAGE(reported(bad) == "-", std::string(bad));
    }
    CHECK(reported("JSON {\"x\":" + std::string(100, '[') + std::string(100, ']') + "}") == "-"); // nested without end
    CHECK(reported("JSON {\"x\":" + std::string(3000, '{')) == "-");
    CHECK(reported("TEXT " + std::string(8000, ' ') + "eps=1") == "-");
    CHECK(reported("TEXT eps=" + std::string(3000, '1')) == "-");
    const std::string infinite("\0\0\0\0\0\0\xf0\x7f", 8);
    CHECK(reported("BIN " + base64("\x39" + infinite)) == "-");
    CHECK(reported("BIN " + base64(std::string("\x42\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11))) == "-");
}

TEST_CASE("orca: whatever a server makes of a report, all figures of it are finite and not negative")
{
    const std::string good[] = {"TEXT cpu_utilization=0.3, rps_fractional=1e1, eps=1, named_metrics.x=0.4",
                                R"(JSON {"eps": 1.5e3, "y": ["\"", {"z": null}], "cpu_utilization": 0.25})",
                                "BIN CZqZmZmZmbk/MQAAAAAAAABAQg4KA2ZvbxGamZmZmZm5P0IOCgNiYXIRmpmZmZmZyT8="};
    constexpr std::string_view kPieces("\0=,:{}[]\"\\ \t0123456789.-+eEinfaBN/_", 35);
    std::uint32_t random = 1;
    const auto next = [&random](std::size_t below) {
        random = random * 1664525u + 1013904223u;
        return static_cast<std::size_t>(random >> 8) % below;
    };
    for (int round = 0; round < 30'000; ++round) {
        std::string text = good[next(3)];
        for (std::size_t change = next(4); change-- > 0;) {
            const std::size_t at = next(text.size());
            if (next(4) == 0) {
                text.resize(at + 1);
            } else {
                text.replace(at, next(2), 1, kPieces[next(kPieces.size())]);
            }
        }
        if (const auto load = parse_load_report(text)) {
            CHECK_MESSAGE((load->utilization >= 0 && load->rps >= 0 && load->eps >= 0), text);
            CHECK_MESSAGE((std::isfinite(load->utilization) && std::isfinite(load->rps) && std::isfinite(load->eps)), text);
        }
    }
}
