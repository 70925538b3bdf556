-- One row is a day.
select
    cast(
        extract(year from date) * 10000 + extract(month from date) * 100 + extract(day from date) as integer
    ) as date_key,
    date,
    extract(year from date) as year,
    extract(quarter from date) as quarter,
    extract(month from date) as month,
    to_char(date, '%B') as month_name,
    extract(day from date) as day,
    extract(isodow from date) as day_of_week,
    to_char(date, '%A') as day_name,
    extract(isodow from date) >= 6 as is_weekend
from dates
