// Says whether every timer of a stack's connections is accounted for: who waits for something has one, the stack asks to be
// woken for it in time, and who is gone has none.
#pragma once

#include <string>

#include "pollux/stack/stack.h"

namespace pollux::test {

/// After a flush at `now`, with nothing left in the transmit batch. Empty, or what is wrong.
std::string check_timers(Stack& stack, TimePoint now);

}  // namespace pollux::test
