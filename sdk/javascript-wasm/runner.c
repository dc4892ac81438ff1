// Runs a durable function in JavaScript: QuickJS-ng as a WebAssembly module. Its argument is the
// function's text, an ES module that exports the function as default or as `handler`. What it waits
// for are promises in its heap; when no job is left it returns, and fermata_resume settles what ended.
// It needs no pass over its code, and so runs at its full speed.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../examples/guests/fermata.h"
#include "quickjs.h"

static const char PRELUDE[] = {
#embed "prelude.js"
    , 0};

static JSContext *js;
static JSValue prelude;

static void put(int fd, const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t written = write(fd, bytes, length);
    if (written <= 0) _Exit(74);
    bytes += written;
    length -= (size_t)written;
  }
}

// Ends the function with what a person has to know.
static _Noreturn void fail(const char *text) {
  put(2, text, strlen(text));
  put(2, "\n", 1);
  _Exit(1);
}

static _Noreturn void fail_with_exception(void) {
  JSValue exception = JS_GetException(js);
  const char *text = JS_ToCString(js, exception);
  if (text) put(2, text, strlen(text));
  JSValue stack = JS_GetPropertyStr(js, exception, "stack");
  if (JS_IsString(stack)) {
    put(2, "\n", 1);
    text = JS_ToCString(js, stack);
    if (text) put(2, text, strlen(text));
  }
  fail("");
}

static JSValue checked(JSValue value) {
  if (JS_IsException(value)) fail_with_exception();
  return value;
}

// All bytes of standard input or of the last outcome.
static char *read_all(int32_t (*read_some)(void *, size_t), size_t *length) {
  size_t capacity = 4096, used = 0;
  char *bytes = malloc(capacity);
  for (;;) {
    if (!bytes) fail("out of memory");
    int32_t got = read_some(bytes + used, capacity - used - 1);
    if (got <= 0) break;
    used += (size_t)got;
    if (used + 1 == capacity) bytes = realloc(bytes, capacity *= 2);
  }
  bytes[used] = 0;
  *length = used;
  return bytes;
}

static int32_t read_input(void *to, size_t capacity) { return (int32_t)read(0, to, capacity); }

// ---- The functions of `native`. Arguments come from the prelude, which passes what they need.

struct text {
  const char *bytes;
  size_t length;
};

static struct text text_of(JSValueConst value) {
  struct text text = {NULL, 0};
  text.bytes = JS_ToCStringLen(js, &text.length, value);
  return text;
}

static int64_t number_of(JSValueConst value) {
  int64_t number = 0;
  JS_ToInt64(js, &number, value);
  return number;
}

#define NATIVE(name) \
  static JSValue name(JSContext *ctx, JSValueConst self, int argc, JSValueConst *args)
#define UNUSED (void)self, (void)argc, (void)args, (void)ctx

NATIVE(native_call) {
  UNUSED;
  struct text name = text_of(args[0]), class = text_of(args[1]), input = text_of(args[2]);
  if (!name.bytes || !class.bytes || !input.bytes) return JS_EXCEPTION;
  int64_t op = JS_ToBool(ctx, args[3])
      ? fermata_call_detached(name.bytes, name.length, class.bytes, class.length, input.bytes, input.length)
      : fermata_call(name.bytes, name.length, class.bytes, class.length, input.bytes, input.length);
  JS_FreeCString(ctx, name.bytes);
  JS_FreeCString(ctx, class.bytes);
  JS_FreeCString(ctx, input.bytes);
  return JS_NewInt64(ctx, op);
}

NATIVE(native_timer) {
  UNUSED;
  return JS_NewInt64(ctx, fermata_timer(number_of(args[0])));
}

NATIVE(native_timer_at) {
  UNUSED;
  return JS_NewInt64(ctx, fermata_timer_at(number_of(args[0])));
}

NATIVE(native_signal) {
  UNUSED;
  struct text name = text_of(args[0]);
  if (!name.bytes) return JS_EXCEPTION;
  int64_t op = fermata_signal(name.bytes, name.length);
  JS_FreeCString(ctx, name.bytes);
  return JS_NewInt64(ctx, op);
}

NATIVE(native_signal_send) {
  UNUSED;
  struct text to = text_of(args[0]), name = text_of(args[1]), payload = text_of(args[2]);
  if (!to.bytes || !name.bytes || !payload.bytes) return JS_EXCEPTION;
  int64_t op = fermata_signal_send(to.bytes, to.length, name.bytes, name.length, payload.bytes, payload.length);
  JS_FreeCString(ctx, to.bytes);
  JS_FreeCString(ctx, name.bytes);
  JS_FreeCString(ctx, payload.bytes);
  return JS_NewInt64(ctx, op);
}

NATIVE(native_token) {
  UNUSED;
  return JS_NewInt64(ctx, fermata_token(number_of(args[0])));
}

NATIVE(native_token_text) {
  UNUSED;
  char text[512];
  int32_t length = fermata_token_text(number_of(args[0]), text, sizeof text);
  if (length < 0 || (size_t)length > sizeof text) return JS_ThrowTypeError(ctx, "no such token");
  return JS_NewStringLen(ctx, text, (size_t)length);
}

NATIVE(native_drop) {
  UNUSED;
  return JS_NewInt32(ctx, fermata_drop(number_of(args[0])));
}

NATIVE(native_status) {
  UNUSED;
  struct text status = text_of(args[0]);
  if (!status.bytes) return JS_EXCEPTION;
  int32_t set = fermata_status(status.bytes, status.length);
  JS_FreeCString(ctx, status.bytes);
  return set < 0 ? JS_ThrowRangeError(ctx, "the status is too long") : JS_UNDEFINED;
}

NATIVE(native_again) {
  UNUSED;
  struct text input = text_of(args[0]);
  if (!input.bytes) return JS_EXCEPTION;
  fermata_continue_as_new(input.bytes, input.length);
}

NATIVE(native_log) {
  UNUSED;
  struct text line = text_of(args[1]);
  if (!line.bytes) return JS_EXCEPTION;
  fermata_log((int32_t)number_of(args[0]), line.bytes, line.length);
  JS_FreeCString(ctx, line.bytes);
  return JS_UNDEFINED;
}

NATIVE(native_random) {
  UNUSED;
  uint64_t bits = 0;
  if (getentropy(&bits, sizeof bits) != 0) fail("no random bytes");
  return JS_NewFloat64(ctx, (double)(bits >> 11) / 9007199254740992.0);
}

static const struct {
  const char *name;
  JSCFunction *function;
  int length;
} NATIVES[] = {
    {"call", native_call, 4},        {"timer", native_timer, 1},
    {"timerAt", native_timer_at, 1}, {"signal", native_signal, 1},
    {"signalSend", native_signal_send, 3}, {"token", native_token, 1},
    {"tokenText", native_token_text, 1},   {"drop", native_drop, 1},
    {"status", native_status, 1},    {"again", native_again, 1},
    {"log", native_log, 2},          {"random", native_random, 0},
};

static JSValue call_prelude(const char *method, int argc, JSValue *args) {
  JSValue function = checked(JS_GetPropertyStr(js, prelude, method));
  JSValue result = checked(JS_Call(js, function, prelude, argc, args));
  JS_FreeValue(js, function);
  for (int i = 0; i < argc; i++) JS_FreeValue(js, args[i]);
  return result;
}

// Runs all jobs, then answers, fails or waits.
static void turn(void) {
  JSContext *of_job;
  int ran;
  while ((ran = JS_ExecutePendingJob(JS_GetRuntime(js), &of_job)) > 0) {
  }
  if (ran < 0) fail_with_exception();
  JSValue state = call_prelude("state", 0, NULL);
  JSValue word = JS_GetPropertyUint32(js, state, 0), value = JS_GetPropertyUint32(js, state, 1);
  struct text kind = text_of(word), text = text_of(value);
  if (!kind.bytes || !text.bytes) fail_with_exception();
  if (kind.bytes[0] == 'f') fail(text.bytes);
  if (kind.bytes[0] == 'd') {
    put(1, text.bytes, text.length);
    _Exit(0);
  }
  JS_FreeCString(js, kind.bytes);
  JS_FreeCString(js, text.bytes);
  JS_FreeValue(js, word);
  JS_FreeValue(js, value);
  JS_FreeValue(js, state);
  if (fermata_await(NULL, 0, FERMATA_NEXT) < 0) fail("the function waits for nothing");
}

static JSValue handler_of(const char *text) {
  JSValue module = checked(JS_Eval(js, text, strlen(text), "function.js", JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY));
  JSModuleDef *definition = JS_VALUE_GET_PTR(module);
  JSValue evaluated = checked(JS_EvalFunction(js, module));
  JSContext *of_job;
  int ran;
  while ((ran = JS_ExecutePendingJob(JS_GetRuntime(js), &of_job)) > 0) {
  }
  if (ran < 0) fail_with_exception();
  if (JS_PromiseState(js, evaluated) == JS_PROMISE_REJECTED) {
    JS_Throw(js, JS_PromiseResult(js, evaluated));
    fail_with_exception();
  }
  JSValue exports = checked(JS_GetModuleNamespace(js, definition));
  JSValue handler = checked(JS_GetPropertyStr(js, exports, "default"));
  if (JS_IsUndefined(handler)) handler = checked(JS_GetPropertyStr(js, exports, "handler"));
  return handler;
}

int main(int argc, char **argv) {
  enum { STACK_BYTES = 512 << 10 };
  if (argc < 2) fail("the runner needs the function's text as its argument");
  JSRuntime *runtime = JS_NewRuntime();
  JS_SetMaxStackSize(runtime, STACK_BYTES);
  js = JS_NewContext(runtime);
  if (!js) fail("out of memory");
  JSValue native = JS_NewObject(js);
  for (size_t i = 0; i < sizeof NATIVES / sizeof *NATIVES; i++)
    JS_SetPropertyStr(js, native, NATIVES[i].name,
                      JS_NewCFunction(js, NATIVES[i].function, NATIVES[i].name, NATIVES[i].length));
  JSValue make = checked(JS_Eval(js, PRELUDE, sizeof PRELUDE - 1, "fermata.js", JS_EVAL_TYPE_GLOBAL));
  prelude = checked(JS_Call(js, make, JS_UNDEFINED, 1, &native));
  JS_FreeValue(js, make);
  size_t length;
  char *input = read_all(read_input, &length);
  JSValue handler = handler_of(argv[1]);
  JSValue args[] = {handler, JS_NewStringLen(js, input, length)};
  free(input);
  JS_FreeValue(js, call_prelude("begin", 2, args));
  turn();
  return 0;
}

__attribute__((export_name("fermata_resume"))) void resume(void) {
  int64_t op;
  while ((op = fermata_next()) != 0) {
    int32_t code = fermata_outcome(op);
    size_t length;
    char *text = read_all(fermata_result_read, &length);
    JSValue args[] = {JS_NewInt64(js, op), JS_NewInt32(js, code), JS_NewStringLen(js, text, length)};
    free(text);
    JS_FreeValue(js, call_prelude("settle", 3, args));
  }
  turn();
}
