"""Two hundred requests of ten intents, in the style of public intent data sets, and forty of none; written for this."""

__all__ = ["INTENTS", "N_EXAMPLES", "OTHERS"]

N_EXAMPLES = 5  # of each intent, its first: what a rule is given; the rest are tested

INTENTS = {
    "translate": """\
translate this email into German for me
how do you say good morning in Japanese
put the following paragraph into French
what is the Spanish word for invoice
can you give me an English version of this Russian text
I need this contract in Italian by tonight
say thank you very much in Portuguese
turn this sentence into Polish, keep it formal
what does gemütlich mean in English
render the poem below in modern English from the Latin
please translate my message to my landlord into Turkish
how would a Korean speaker say see you tomorrow
Dutch translation of the product description please
convert these subtitles from Chinese to English
what's the Arabic for water
help me write this in Swedish instead
give me the French for where is the train station
could you translate the second half of the letter too
what is I love you in Greek
I have a note in Hungarian, what does it say""",
    "debug_code": """\
why does my Python script raise a KeyError on this line
this JavaScript function returns undefined, what is wrong
my C++ program segfaults when the vector is empty
fix the off by one bug in this loop
the unit test fails with an assertion error, find the cause
I get a NullPointerException in the constructor, any idea why
this regex does not match what I expect, help me fix it
my React component re-renders forever, what am I doing wrong
here is a stack trace from Django, what broke
the compiler says lifetime may not live long enough, how do I fix it
my async function never resolves its promise
why is this recursive function hitting the recursion limit
numpy complains about shapes that cannot be broadcast in this code
help me find the memory leak in this Go service
the build fails with undefined reference to main
this for loop skips every second element of the list
why do I get a type error when I add these two variables
my bash script exits early although no command fails
the API call in my code returns 401 though the token is set
there is a race condition somewhere in this threading code""",
    "sql": """\
write a SQL query that lists customers without orders
how do I join these two tables on the user id
count the orders per month in Postgres
which query gives the top ten products by revenue
select all rows where the date is in the last week
SQL to find duplicate email addresses in the users table
group sales by region and show only those above a thousand
how can I pivot rows into columns in MySQL
write a query with a window function for the running total
update the price of all products in category seven
give me the average salary per department as a SQL statement
delete records older than two years from the logs table
what index would speed up this select statement
left join orders and payments and keep unmatched rows
return the second highest salary from the employees table
query to get the latest row for each customer
how to write a recursive CTE for an org chart
insert the results of this select into an archive table
find users who signed up but never logged in, in SQL
rewrite this subquery as a join""",
    "summarize": """\
summarize this article in three bullet points
give me the gist of the attached report
what are the key takeaways from this meeting transcript
shorten this text to one paragraph
tl;dr of the following thread please
write an executive summary of this document
condense the chapter below to a hundred words
can you boil this long email down to the essentials
list the main points of the speech
sum up what was decided in the call notes
I have no time to read this paper, what does it say in brief
a short abstract for the text below
recap the discussion in two sentences
make a brief overview of this annual report
outline the argument of this essay in a few lines
what is the main idea of this passage
pull out the most important facts from the press release
digest these customer reviews into a short summary
compress this blog post into a tweet
highlight the conclusions of the study in plain words""",
    "travel": """\
book me a flight from Berlin to Lisbon next Friday
find a cheap hotel near the station in Vienna
what is the fastest train from Paris to Amsterdam
plan a four day trip to Rome with kids
I need a rental car at the airport from Monday on
are there direct flights from Boston to Dublin in May
reserve a double room with breakfast for two nights
which visa do I need to travel to Vietnam
suggest an itinerary for a week in Japan
change my return flight to the evening one
how long is the layover in Frankfurt on this route
recommend a quiet beach town in Portugal for a holiday
is there a night bus from Prague to Budapest
what should I see in Istanbul in one day
find me a ferry to the Greek islands in July
how much luggage may I take on the plane
look for a hostel in Copenhagen under fifty euros
when does the last shuttle to the airport leave
I want to go hiking in the Alps in September, where should I stay
cancel my hotel reservation in Madrid""",
    "refund": """\
I was charged twice and want my money back
how do I get a refund for my order
the parcel arrived broken, please refund me
cancel my subscription and return the last payment
there is a charge on my bill that I do not recognise
my refund still has not arrived after two weeks
I sent the shoes back, when will I be reimbursed
you billed me for the premium plan although I downgraded
can I return this jacket and get the money back
the invoice shows the wrong amount, please correct it
I would like to dispute a payment on my account
why was my card debited again this month
the item never came, I want a full refund
please credit the shipping fee back to my card
what is your return policy for opened products
I cancelled within fourteen days, so give me my payment back
the discount code was not applied and I paid too much
money was taken twice for a single purchase
I demand compensation for the late delivery
how long do refunds to a credit card take""",
    "account": """\
I forgot my password and cannot log in
my account is locked after too many attempts
how do I change the email address of my profile
the verification code never arrives on my phone
reset my two factor authentication please
I can't sign in on my new phone
please delete my account and all my data
how can I update my username
the password reset link has expired
someone else logged in to my account
I lost the device with my authenticator app
where do I change my phone number in the settings
the login page says invalid credentials
unlock my user account please
how do I turn on two-step verification
I never received the confirmation email after registering
can I merge two accounts into one
my session keeps logging me out
the captcha does not let me sign up
recover access to my old profile""",
    "cooking": """\
give me a recipe for lentil soup
how long do I boil an egg until it is soft
what can I cook with chicken, rice and peppers
how do I make a sourdough starter
substitute for buttermilk in pancakes
a vegan dinner for four people in under thirty minutes
at which temperature should I roast a whole duck
my cake always sinks in the middle, what should I bake differently
how do you make a good vinaigrette
ingredients for a classic tiramisu
how much salt goes into pasta water
what is a quick dessert with apples
can I freeze cooked risotto
recipe for spicy Thai curry with tofu
how do I know when a steak is medium rare
which spices go well with pumpkin
make me a meal plan of easy lunches for the week
how to knead pizza dough by hand
how long does homemade pesto keep in the fridge
what sauce goes with grilled salmon""",
    "weather": """\
will it rain in Hamburg tomorrow
what is the temperature outside right now
weather forecast for the weekend in Oslo
do I need an umbrella this afternoon
how windy will it be at the coast tonight
is it going to snow in the mountains this week
how hot does it get in Seville in August
when will the storm reach the city
chance of thunderstorms on Saturday
how cold was it last night
is there a frost warning for tomorrow morning
will the sun come out later today
what is the humidity in Singapore at the moment
tell me the forecast for the next five days
are the roads icy today
how much rain fell yesterday
is fog expected at the airport in the morning
when does the heat wave end
should I wear a warm coat today
what will the weather be like for our picnic on Sunday""",
    "math": """\
solve the equation 3x + 7 = 22
what is the derivative of x squared times sine x
how do I calculate the area of a trapezoid
prove that the square root of two is irrational
what is 17 percent of 340
integrate e to the x times cosine x
find the roots of this quadratic polynomial
what is the probability of rolling two sixes
simplify the fraction 84 over 126
explain the Pythagorean theorem with an example
how many ways can five people sit in a row
compute the determinant of this three by three matrix
what is the limit of sin x over x as x goes to zero
factor x cubed minus eight
what is the least common multiple of 12 and 18
convert the fraction seven eighths to a decimal
how do I solve a system of two linear equations
what is the sum of the first hundred integers
show that the series of one over n squared converges
how do logarithms work in this exercise""",
}

OTHERS = """\
write a birthday poem for my grandmother
who was the first person on the moon
recommend a science fiction novel
draft a cover letter for a nursing job
what is the capital of Mongolia
tell me a joke about penguins
how does photosynthesis work
give me ideas for a baby shower
explain the plot of Hamlet
my dog limps on its left leg, what could it be
write a product description for a ceramic mug
how do I start running without hurting my knees
what are the rules of chess
suggest a name for a coffee shop
who won the world cup in 1998
how do black holes form
write a farewell message to a colleague
what is the difference between a virus and a bacterium
help me prepare for a job interview
which guitar should a beginner buy
explain supply and demand
how can I fall asleep faster
describe the causes of the first world war
write a dialogue between a cat and a robot
how often should I water a cactus
what does a notary do
compare electric and hydrogen cars
give me a workout for the back
what is the best way to learn the piano
name three paintings by Vermeer
how do I tie a bow tie
is coffee bad for the heart
write a haiku about the sea
who invented the telephone
how tall is the Eiffel tower
should I lease or buy a car
what is a good opening for a wedding speech
how do vaccines work
explain what inflation is
help me choose a name for my kitten""".splitlines()

INTENTS = {name: text.splitlines() for name, text in INTENTS.items()}
