// What a failed CHECK does beside aborting.
#pragma once

namespace pollux {

/// `hook` is called after the message of a failed CHECK, once, before the process aborts: to say more about it. It must
/// neither allocate nor lock. Set it at start-up; nullptr: none.
void set_check_hook(void (*hook)() noexcept) noexcept;

}  // namespace pollux
