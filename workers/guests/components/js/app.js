// A component built from JavaScript, with the same functions as ../python where the language has them.
export function greet(who) {
  if (who.age > 150) throw { code: 422, why: `${who.name} cannot be ${who.age}` };
  return `Hello ${who.name}, ${who.age}, known as ${who.emails.join(" and ") || "nobody"}`;
}

export function total(numbers) {
  return numbers.reduce((sum, number) => sum + number, 0);
}
