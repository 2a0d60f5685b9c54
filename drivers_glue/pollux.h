// The one header a program includes: #include <pollux/pollux.h>
#pragma once

#include "pollux/drivers_glue/runtime.h"
#include "pollux/stack/stack.h"
