// Drops for the flight recorder: by comparing counters now and then, so that dropping costs no more for it.
#pragma once

#include "pollux/base/counters.h"
#include "pollux/base/flight_recorder.h"

namespace pollux {

/// Turns drops that were counted since its last look into records, one for each reason.
class DropWatch {
 public:
  void look(const Counters& counters, FlightRecorder& recorder, TimePoint now) noexcept;

 private:
  Counters seen_;
};

}  // namespace pollux
