// The shop's home page: the catalogue as HTML, best matches first. Input, optional: a JSON object
// with `seed` (a number: what this visitor likes) and `query` (text to search for).
//
// For each product it computes how near its name and description are to the query (edit distance,
// so that misspelled queries find something), and for each product shown which others are most like
// it (shared trigrams). Some two milliseconds of work, like a real page.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PRODUCTS = 96, SHOWN = 24, ALIKE = 3, WORD_MAX = 24, QUERY_MAX = 64, TRIGRAM_BITS = 512 };

static const char *const KINDS[] = {"lamp",    "chair",  "kettle", "scarf", "radio", "bicycle",
                                    "mirror",  "clock",  "teapot", "desk",  "rug",   "shelf"};
static const char *const STYLES[] = {"blue", "warm", "quiet", "round", "old", "swift", "plain", "small"};
static const char *const MATERIALS[] = {"oak", "brass", "wool", "glass", "linen", "steel", "cork"};
static const char *const PLACES[] = {"kitchen", "garden", "study", "hallway", "bedroom", "attic"};
static const char *const ENDINGS[] = {"made to last", "easy to mend", "ships today", "a gift & a joy",
                                      "from <our> workshop"};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

struct product {
  char name[32];
  char text[96];
  uint32_t cents;
  uint32_t score;
  uint64_t trigrams[TRIGRAM_BITS / 64];
};

static struct product catalogue[PRODUCTS];
static char page[256 * 1024];
static size_t page_len;

static uint64_t draw_state;

static uint32_t draw(void) {
  draw_state = draw_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(draw_state >> 33);
}

static void add(const char *text) {
  size_t length = strlen(text);
  if (length > sizeof page - page_len) length = sizeof page - page_len;
  memcpy(page + page_len, text, length);
  page_len += length;
}

static void add_escaped(const char *text) {
  for (; *text; text++) {
    char one[2] = {*text, 0};
    add(*text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '&' ? "&amp;" : *text == '"' ? "&quot;" : one);
  }
}

static void add_number(uint32_t number, unsigned digits_min) {
  char digits[11], *at = digits + sizeof digits - 1;
  *at = 0;
  while (number > 0 || digits_min > 0) {
    *--at = (char)('0' + number % 10);
    number /= 10;
    if (digits_min > 0) digits_min--;
  }
  add(at);
}

static void fill(void) {
  draw_state = 20;  // the same catalogue for everybody
  for (unsigned i = 0; i < PRODUCTS; i++) {
    struct product *product = &catalogue[i];
    strcpy(product->name, STYLES[i % COUNT(STYLES)]);
    strcat(product->name, " ");
    strcat(product->name, KINDS[i / COUNT(STYLES)]);
    strcpy(product->text, MATERIALS[draw() % COUNT(MATERIALS)]);
    strcat(product->text, " and ");
    strcat(product->text, MATERIALS[draw() % COUNT(MATERIALS)]);
    strcat(product->text, " for the ");
    strcat(product->text, PLACES[draw() % COUNT(PLACES)]);
    strcat(product->text, ", ");
    strcat(product->text, ENDINGS[draw() % COUNT(ENDINGS)]);
    product->cents = 900 + draw() % 19000;
  }
}

static void mark_trigrams(struct product *product, const char *text) {
  for (size_t i = 0; text[i] && text[i + 1] && text[i + 2]; i++) {
    uint32_t hash = ((uint32_t)(uint8_t)text[i] * 31 + (uint8_t)text[i + 1]) * 31 + (uint8_t)text[i + 2];
    hash = hash * 2654435761u >> 23;
    product->trigrams[hash / 64] |= 1ull << (hash % 64);
  }
}

// Edits that turn one word into the other.
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len) {
  uint8_t row[WORD_MAX + 1];
  for (size_t j = 0; j <= b_len; j++) row[j] = (uint8_t)j;
  for (size_t i = 1; i <= a_len; i++) {
    uint8_t diagonal = row[0];
    row[0] = (uint8_t)i;
    for (size_t j = 1; j <= b_len; j++) {
      uint8_t above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
      if (above + 1 < best) best = above + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = above;
      row[j] = best;
    }
  }
  return row[b_len];
}

static size_t word_at(const char **text) {
  *text += strspn(*text, " ,.&<>");
  size_t length = strcspn(*text, " ,.&<>");
  return length < WORD_MAX ? length : WORD_MAX;
}

// How well a text matches: each word of the query counts by its nearest word in the text.
static uint32_t match(const char *query, const char *text, uint32_t weight) {
  uint32_t score = 0;
  for (size_t wanted; (wanted = word_at(&query)) > 0; query += wanted) {
    unsigned nearest = WORD_MAX;
    const char *rest = text;
    for (size_t length; (length = word_at(&rest)) > 0; rest += length) {
      unsigned edits = distance(query, wanted, rest, length);
      if (edits < nearest) nearest = edits;
    }
    if (nearest < wanted) score += weight * (uint32_t)(wanted - nearest) / (uint32_t)wanted;
  }
  return score;
}

static int by_score(const void *left, const void *right) {
  const struct product *a = left, *b = right;
  if (a->score != b->score) return a->score < b->score ? 1 : -1;
  return strcmp(a->name, b->name);
}

static unsigned likeness(const struct product *a, const struct product *b) {
  unsigned shared = 0;
  for (unsigned i = 0; i < TRIGRAM_BITS / 64; i++)
    shared += (unsigned)__builtin_popcountll(a->trigrams[i] & b->trigrams[i]);
  return shared;
}

static void add_alike(const struct product *product) {
  const struct product *best[ALIKE] = {0};
  unsigned shared[ALIKE] = {0};
  for (unsigned i = 0; i < PRODUCTS; i++) {
    const struct product *other = &catalogue[i];
    unsigned like = other == product ? 0 : likeness(product, other);
    for (unsigned place = 0; place < ALIKE && like > 0; place++) {
      if (like <= shared[place]) continue;
      const struct product *moved = best[place];
      unsigned moved_shared = shared[place];
      best[place] = other, shared[place] = like;
      other = moved, like = moved ? moved_shared : 0;
    }
  }
  for (unsigned place = 0; place < ALIKE && best[place]; place++) {
    add(place ? ", " : "<p class=alike>See also ");
    add_escaped(best[place]->name);
  }
  add("</p>");
}

static void render(const char *query) {
  add("<!doctype html><html lang=en><meta charset=utf-8><title>The shop</title><h1>The shop</h1>");
  if (*query) {
    add("<p>Best matches for <q>");
    add_escaped(query);
    add("</q></p>");
  }
  add("<ol>");
  for (unsigned i = 0; i < SHOWN; i++) {
    const struct product *product = &catalogue[i];
    add("<li><h2>");
    add_escaped(product->name);
    add("</h2><p>");
    add_escaped(product->text);
    add("</p><p class=price>");
    add_number(product->cents / 100, 1);
    add(".");
    add_number(product->cents % 100, 2);
    add("</p>");
    add_alike(product);
    add("</li>");
  }
  add("</ol></html>\n");
}

// Where the value of a JSON member begins, or NULL. Enough for what this page is sent.
static const char *member(const char *json, const char *quoted_name) {
  const char *at = strstr(json, quoted_name);
  if (!at) return NULL;
  at += strlen(quoted_name);
  at += strspn(at, " \t\r\n");
  if (*at != ':') return NULL;
  at++;
  return at + strspn(at, " \t\r\n");
}

int main(void) {
  static char input[4096], query[QUERY_MAX + 1];
  size_t used = 0;
  for (ssize_t got; used < sizeof input - 1; used += (size_t)got)
    if ((got = read(0, input + used, sizeof input - 1 - used)) <= 0) break;
  const char *seed = member(input, "\"seed\""), *text = member(input, "\"query\"");
  if (text && *text == '"') {
    size_t length = strcspn(text + 1, "\"\\");
    memcpy(query, text + 1, length < QUERY_MAX ? length : QUERY_MAX);
  }
  fill();
  // What a visitor likes stands for their history: some words that products are ranked by.
  draw_state = seed ? (uint64_t)strtoull(seed, NULL, 10) : 0;
  char taste[QUERY_MAX * 2] = "";
  for (unsigned i = 0; i < 4; i++) {
    strcat(taste, MATERIALS[draw() % COUNT(MATERIALS)]);
    strcat(taste, " ");
    strcat(taste, KINDS[draw() % COUNT(KINDS)]);
    strcat(taste, " ");
  }
  for (unsigned i = 0; i < PRODUCTS; i++) {
    struct product *product = &catalogue[i];
    mark_trigrams(product, product->name);
    mark_trigrams(product, product->text);
    product->score = match(query, product->name, 4000) + match(query, product->text, 1500) +
                     match(taste, product->name, 300) + match(taste, product->text, 200);
  }
  qsort(catalogue, PRODUCTS, sizeof catalogue[0], by_score);
  render(query);
  for (size_t sent = 0; sent < page_len;) {
    ssize_t written = write(1, page + sent, page_len - sent);
    if (written < 0) return 1;
    sent += (size_t)written;
  }
  return 0;
}
